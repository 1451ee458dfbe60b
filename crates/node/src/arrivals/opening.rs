//! The documents that are read and written when a session begins: those of the name, the avatar and its place.

use super::applicant::Applicant;
use super::company::Company;
use super::interface::ArrivalsConfig;
use crate::documents::avatar::{AVATAR_SCHEMA, AvatarDocument, PLACE_SCHEMA, Place, PlaceDocument};
use crate::documents::schema::read;
use crate::session::NewSession;
use bytes::Bytes;
use pelago_game::{Arrival, guarded, json};
use pelago_model::{Document, EntityId, Epoch, Key, NodeId, Revision, WorldTime, Write};
use pelago_world::ClientId;

/// A session that begins once these writes are committed.
pub(super) struct Opening {
    pub(super) session: NewSession,
    pub(super) writes: Vec<Write>,
}

/// The revisions of an avatar's document and of its place.
struct Revisions {
    avatar: Revision,
    place: Revision,
}

impl Opening {
    /// The next session of an avatar that exists, which was let go of at the place `released`. `unbound` is the revision of its name if no token is bound to that
    /// yet, and `documents` are its [`keys`](Self::keys).
    pub(super) fn of_avatar(
        config: &ArrivalsConfig,
        now: WorldTime,
        (applicant, released): (&Applicant, Option<Place>),
        (id, unbound): (EntityId, Option<Revision>),
        documents: &[Document],
    ) -> Result<Self, String> {
        let [avatar_document, place_document] = documents else {
            return Err("the store answered with too few documents".into());
        };
        let avatar: AvatarDocument =
            read(avatar_document)?.ok_or_else(|| format!("avatar {id} has no document"))?;
        let checkpoint: Option<PlaceDocument> = read(place_document)?;
        // Where the session before has let go of it, or if that is not known, the later of the last checkpoint and the
        // last command. Both are of the last session, since every login writes both anew: times of two sessions are
        // never compared.
        let stored = checkpoint
            .map(|checkpoint| checkpoint.place)
            .filter(|place| place.at >= avatar.place.at)
            .unwrap_or(avatar.place);
        let released = released.filter(|place| config.lands.contains_key(&place.island));
        let place = released.unwrap_or(stored);
        let revisions =
            Revisions { avatar: avatar_document.revision, place: place_document.revision };
        let mut opening =
            Self::new(config, now, (applicant.client, id), (avatar, place), revisions)?;
        // A session that may still be there, or that ended nobody knows when, may have used everything up to now.
        opening.session.quiet_ms = checkpoint
            .filter(|checkpoint| checkpoint.has_left)
            .map_or(0, |checkpoint| config.clock.at(now).since(checkpoint.place.at));
        if let Some(expected) = unbound {
            opening.writes.push(applicant.bind_old_name(id, expected)?);
        }
        Ok(opening)
    }

    /// The first session of a new avatar.
    pub(super) fn of_newcomer(
        config: &ArrivalsConfig,
        now: WorldTime,
        applicant: &Applicant,
        id: EntityId,
        company: &mut Company,
    ) -> Result<Self, String> {
        let name = applicant.new_name()?.as_str();
        let land = config.lands.get(&config.home).ok_or("the home island has no land")?;
        let made = guarded(|| {
            let position = config.game.spawn(land, applicant.arrival, id.serial());
            (position, config.game.new_avatar(name))
        });
        let (usual, game) = made.map_err(|panic| format!("for avatar {id}: {panic}"))?;
        let position = match applicant.arrival {
            Arrival::Home => company.place(now, land, usual, id.serial()),
            Arrival::Anywhere => usual,
        };
        let place = Place { island: config.home, position, at: config.clock.at(now) };
        let avatar = AvatarDocument::new(name.to_owned(), place, game);
        let revisions = Revisions { avatar: Revision(0), place: Revision(0) };
        let mut opening =
            Self::new(config, now, (applicant.client, id), (avatar, place), revisions)?;
        opening.writes.push(applicant.bind_new_name(id)?);
        Ok(opening)
    }

    /// The node that has had an avatar and the epoch under which it did, if anybody has.
    pub(super) fn owner(avatar: &Document) -> Option<(NodeId, Epoch)> {
        let avatar: AvatarDocument = read(avatar).ok()??;
        (avatar.owner != NodeId(0)).then_some((avatar.owner, avatar.epoch))
    }

    /// The documents that are read of an avatar that exists.
    pub(super) fn keys(avatar: EntityId) -> Vec<Key> {
        vec![Key::avatar(avatar), Key::place(avatar)]
    }

    /// Takes the next epoch, and fences the checkpoints of the session before.
    fn new(
        config: &ArrivalsConfig,
        now: WorldTime,
        (client, id): (ClientId, EntityId),
        (mut avatar, place): (AvatarDocument, Place),
        revisions: Revisions,
    ) -> Result<Self, String> {
        avatar.epoch = avatar.epoch.next();
        avatar.owner = config.node;
        let place = Place { at: config.clock.at(now), ..place };
        avatar.place = place;
        let checkpoint = PlaceDocument { epoch: avatar.epoch, place, has_left: false };
        let encoded = |value: Result<Bytes, json::EncodeError>| value.map_err(|e| e.to_string());
        let writes = vec![
            Write {
                key: Key::avatar(id),
                expected: revisions.avatar,
                schema: AVATAR_SCHEMA,
                value: Some(encoded(json::encode(&avatar))?),
            },
            Write {
                key: Key::place(id),
                expected: revisions.place,
                schema: PLACE_SCHEMA,
                value: Some(encoded(json::encode(&checkpoint))?),
            },
        ];
        let state = guarded(|| config.game.player_view(&avatar.game));
        let session = NewSession {
            client,
            avatar: id,
            epoch: avatar.epoch,
            name: avatar.name.as_str().into(),
            sequence: avatar.sequence,
            chain: avatar.chain.0,
            state: state.map_err(|panic| format!("for avatar {id}: {panic}"))?,
            place,
            place_revision: revisions.place.next(),
            // A newcomer has not done anything yet.
            quiet_ms: i64::MAX,
        };
        Ok(Self { session, writes })
    }
}
