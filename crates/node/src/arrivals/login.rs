//! Login: a name becomes an avatar, an avatar gets its next epoch, the session gets a lane.
//!
//! Who takes the epoch in the avatar's document owns the avatar; whoever held it before finds out at its next
//! write, or is told. A name belongs to the token that it was first used with; a queue is later work.

use crate::avatar::{
    AVATAR_SCHEMA, AvatarDocument, NAME_SCHEMA, NameDocument, PLACE_SCHEMA, Place, PlaceDocument,
    SERIALS_SCHEMA, SerialsDocument,
};
use crate::control::ControlInput;
use crate::effect::{Effect, Level, Message, Part, RequestId};
use crate::lane::{LaneInput, Session};
use crate::placement::lane_for;
use crate::schema::read;
use crate::token::TokenHash;
use bytes::Bytes;
use pelago_game::{Arrival, Game, Land, Refusal, json};
use pelago_model::limits::MAX_NAME_BYTES;
use pelago_model::{
    CommitOutcome, Document, EntityId, IslandClock, IslandId, Key, Limit, LimitCounts, Machine,
    NodeId, Revision, Secret, Size, Transaction, WorldNumber, WorldTime, Write,
};
use pelago_world::ClientId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Serials that a node leases at once.
pub const SERIAL_LEASE: u64 = 256;
/// Logins under way; more are refused as `busy`.
pub const MAX_LOGINS: usize = 4096;
/// Requests for serials under way, which belong to nobody in particular.
const SERIAL_REQUESTS: usize = 1;
/// How often a login begins anew after a conflict.
const MAX_ATTEMPTS: usize = 12;

/// What can wake the login.
#[derive(Debug)]
pub enum LoginInput {
    /// A client has introduced itself.
    Hello {
        /// Who.
        client: ClientId,
        /// The name of the avatar it wants.
        name: String,
        /// Its proof that the name is its own.
        token: Secret,
        /// Where a new avatar appears.
        arrival: Arrival,
    },
    /// A client is gone.
    Gone {
        /// Who.
        client: ClientId,
    },
    /// Documents that were asked for; `None` if the store could not read them.
    Loaded {
        /// Of the request.
        request_id: RequestId,
        /// In the order of the request.
        documents: Option<Vec<Document>>,
    },
    /// The end of a commit.
    Committed {
        /// Of the request.
        request_id: RequestId,
        /// How it ended.
        outcome: CommitOutcome,
    },
}

/// What the login is made of.
pub struct LoginConfig {
    /// This node.
    pub node: NodeId,
    /// The world, for new ids.
    pub world: WorldNumber,
    /// Lanes, at least one.
    pub lanes: u8,
    /// How many of them share the players who arrive in one chunk.
    pub spread: u8,
    /// The rules.
    pub game: Arc<dyn Game>,
    /// Where new avatars appear.
    pub home: IslandId,
    /// The land of every island.
    pub lands: BTreeMap<IslandId, Arc<Land>>,
    /// Island time.
    pub clock: IslandClock,
}

struct Arriving {
    name: String,
    token: TokenHash,
    arrival: Arrival,
    attempts: usize,
    step: Step,
}

enum Step {
    ReadName,
    ReadAvatar {
        avatar: EntityId,
        /// The revision of a name that no token was bound to yet.
        unbound: Option<Revision>,
    },
    /// A name that nobody bears waits for a serial.
    AwaitSerial,
    Commit(Box<Session>),
}

impl Arriving {
    /// Binds the name to an avatar and a token.
    fn name_write(&self, avatar: EntityId, expected: Revision) -> Result<Write, String> {
        let document = NameDocument { avatar, token: Some(self.token) };
        let value = json::encode(&document).map_err(|error| error.to_string())?;
        let key = Key::name(&self.name);
        Ok(Write { key, expected, schema: NAME_SCHEMA, value: Some(value) })
    }
}

enum Request {
    Arriving(ClientId),
    ReadSerials,
    LeaseSerials { first: u64 },
}

/// Those who arrive at a node.
pub struct Login {
    config: LoginConfig,
    arriving: BTreeMap<ClientId, Arriving>,
    requests: BTreeMap<RequestId, Request>,
    next_request_id: u64,
    serials: std::ops::Range<u64>,
    leasing: bool,
    /// Players who were given a lane so far.
    placed: u64,
    limits: LimitCounts,
}

impl Login {
    /// A login that nobody is at.
    pub fn new(config: LoginConfig) -> Self {
        Self {
            config,
            arriving: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_request_id: 0,
            serials: 0..0,
            leasing: false,
            placed: 0,
            limits: LimitCounts::default(),
        }
    }

    /// How full everything is that can grow.
    pub fn sizes(&self) -> Vec<Size> {
        vec![
            Size::queue("logins", self.arriving.len(), MAX_LOGINS),
            Size::queue("requests of logins", self.requests.len(), MAX_LOGINS + SERIAL_REQUESTS),
        ]
    }

    /// How often limits were met.
    pub fn limits(&self) -> LimitCounts {
        self.limits
    }

    fn request_id(&mut self, request: Request) -> RequestId {
        self.next_request_id += 1;
        self.requests.insert(RequestId(self.next_request_id), request);
        RequestId(self.next_request_id)
    }

    fn load(&mut self, request: Request, keys: Vec<Key>, effects: &mut Vec<Effect>) {
        let request_id = self.request_id(request);
        effects.push(Effect::Load { part: Part::Login, request_id, keys });
    }

    fn commit(&mut self, request: Request, writes: Vec<Write>, effects: &mut Vec<Effect>) {
        let request_id = self.request_id(request);
        let transaction = Transaction { checks: Vec::new(), writes };
        effects.push(Effect::Commit { part: Part::Login, request_id, transaction });
    }

    fn hello(
        &mut self,
        client: ClientId,
        name: String,
        token: &Secret,
        arrival: Arrival,
        effects: &mut Vec<Effect>,
    ) {
        let visible = |c: char| !c.is_control();
        if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(visible) {
            let refusal = Refusal::new("name", "That name cannot be used.");
            return effects.push(refuse(client, refusal));
        }
        // Whoever goes leaves its request to the store behind.
        if self.arriving.len().max(self.requests.len()) >= MAX_LOGINS {
            self.limits.note(Limit::Logins);
            let refusal = Refusal::new("busy", "Too many arrive at once. Try again in a moment.");
            return effects.push(refuse(client, refusal));
        }
        let Some(token) = TokenHash::of(&name, token) else {
            let refusal = Refusal::new("token", "A token has 16 to 64 bytes.");
            return effects.push(refuse(client, refusal));
        };
        let arriving = Arriving { name, token, arrival, attempts: 0, step: Step::ReadName };
        self.arriving.insert(client, arriving);
        self.begin(client, effects);
    }

    fn begin(&mut self, client: ClientId, effects: &mut Vec<Effect>) {
        let Some(arriving) = self.arriving.get_mut(&client) else { return };
        arriving.attempts += 1;
        if arriving.attempts > MAX_ATTEMPTS {
            self.limits.note(Limit::LoginAttempts);
            return self.fail(client, "a login met too many conflicts", effects);
        }
        arriving.step = Step::ReadName;
        let key = Key::name(&arriving.name);
        self.load(Request::Arriving(client), vec![key], effects);
    }

    fn fail(&mut self, client: ClientId, why: &str, effects: &mut Vec<Effect>) {
        if self.arriving.remove(&client).is_some() {
            let text = format!("login failed: {why}");
            effects.push(Effect::Log { level: Level::Warn, trace: client.0, text });
            effects.push(refuse(client, crate::steward::unavailable()));
        }
    }

    fn loaded(
        &mut self,
        now: WorldTime,
        client: ClientId,
        documents: Vec<Document>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(arriving) = self.arriving.get_mut(&client) else { return };
        match arriving.step {
            Step::ReadName => {
                match documents.first().map(|name| (name, NameDocument::read(name))) {
                    Some((document, Ok(Some(name)))) => {
                        if name.token.is_some_and(|token| !token.is(&arriving.token)) {
                            return self.foreign(client, effects);
                        }
                        let unbound = name.token.is_none().then_some(document.revision);
                        arriving.step = Step::ReadAvatar { avatar: name.avatar, unbound };
                        let keys = vec![Key::avatar(name.avatar), Key::place(name.avatar)];
                        self.load(Request::Arriving(client), keys, effects);
                    }
                    Some((_, Ok(None))) => {
                        arriving.step = Step::AwaitSerial;
                        self.serve_serials(now, effects);
                    }
                    Some((_, Err(error))) => self.fail(client, &error.to_string(), effects),
                    None => self.fail(client, "the store answered with too few documents", effects),
                }
            }
            Step::ReadAvatar { avatar, unbound } => {
                let binding = unbound.map(|revision| arriving.name_write(avatar, revision));
                let returning = self.returning(now, client, avatar, &documents);
                match returning.and_then(|found| with_write(found, binding)) {
                    Ok((session, writes)) => self.take_epoch(client, session, writes, effects),
                    Err(text) => self.fail(client, &text, effects),
                }
            }
            Step::AwaitSerial | Step::Commit(_) => {}
        }
    }

    /// The name is somebody else's.
    fn foreign(&mut self, client: ClientId, effects: &mut Vec<Effect>) {
        self.arriving.remove(&client);
        let text = "login refused: the name is bound to another token".to_owned();
        effects.push(Effect::Log { level: Level::Info, trace: client.0, text });
        let sentence = "That name belongs to somebody else.";
        effects.push(refuse(client, Refusal::new("token", sentence)));
    }

    /// The next session of an avatar that exists.
    fn returning(
        &self,
        now: WorldTime,
        client: ClientId,
        id: EntityId,
        documents: &[Document],
    ) -> Result<(Session, Vec<Write>), String> {
        let [avatar_document, place_document] = documents else {
            return Err("the store answered with too few documents".into());
        };
        let avatar: AvatarDocument =
            read(avatar_document)?.ok_or_else(|| format!("avatar {id} has no document"))?;
        let checkpoint: Option<PlaceDocument> = read(place_document)?;
        // The later of the last checkpoint and the last command.
        let place = checkpoint
            .map(|checkpoint| checkpoint.place)
            .filter(|place| place.at >= avatar.place.at)
            .unwrap_or(avatar.place);
        self.session(
            now,
            client,
            id,
            avatar,
            place,
            (avatar_document.revision, place_document.revision),
        )
    }

    /// The first session of a new avatar.
    fn newcomer(
        &self,
        now: WorldTime,
        client: ClientId,
        id: EntityId,
        arriving: &Arriving,
    ) -> Result<(Session, Vec<Write>), String> {
        let name = arriving.name.as_str();
        let land = self.config.lands.get(&self.config.home).ok_or("the home island has no land")?;
        let position = self.config.game.spawn(land, arriving.arrival, id.serial());
        let at = self.config.clock.at(now);
        let place = Place { island: self.config.home, position, at };
        let avatar = AvatarDocument::new(name.to_owned(), place, self.config.game.new_avatar(name));
        let revisions = (Revision(0), Revision(0));
        let session = self.session(now, client, id, avatar, place, revisions)?;
        with_write(session, Some(arriving.name_write(id, Revision(0))))
    }

    fn session(
        &self,
        now: WorldTime,
        client: ClientId,
        id: EntityId,
        mut avatar: AvatarDocument,
        place: Place,
        (avatar_revision, place_revision): (Revision, Revision),
    ) -> Result<(Session, Vec<Write>), String> {
        avatar.epoch = avatar.epoch.next();
        avatar.owner = self.config.node;
        let place = Place { at: self.config.clock.at(now), ..place };
        let checkpoint = PlaceDocument { epoch: avatar.epoch, place };
        let encoded = |value: Result<Bytes, json::EncodeError>| value.map_err(|e| e.to_string());
        let writes = vec![
            Write {
                key: Key::avatar(id),
                expected: avatar_revision,
                schema: AVATAR_SCHEMA,
                value: Some(encoded(json::encode(&avatar))?),
            },
            Write {
                key: Key::place(id),
                expected: place_revision,
                schema: PLACE_SCHEMA,
                value: Some(encoded(json::encode(&checkpoint))?),
            },
        ];
        let session = Session {
            client,
            avatar: id,
            epoch: avatar.epoch,
            name: avatar.name.as_str().into(),
            sequence: avatar.sequence,
            chain: avatar.chain.0,
            state: self.config.game.player_view(&avatar.game),
            place,
            place_revision: place_revision.next(),
        };
        Ok((session, writes))
    }

    fn take_epoch(
        &mut self,
        client: ClientId,
        session: Session,
        writes: Vec<Write>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(arriving) = self.arriving.get_mut(&client) {
            arriving.step = Step::Commit(Box::new(session));
            self.commit(Request::Arriving(client), writes, effects);
        }
    }

    fn committed(&mut self, client: ClientId, outcome: CommitOutcome, effects: &mut Vec<Effect>) {
        if !matches!(outcome, CommitOutcome::Committed) {
            // An unknown outcome may have taken an epoch; the next one fences it.
            return self.begin(client, effects);
        }
        let Some(arriving) = self.arriving.remove(&client) else { return };
        let Step::Commit(session) = arriving.step else { return };
        let place = (session.place.island, session.place.position.chunk());
        let lane = lane_for(place, self.config.lanes, self.config.spread, self.placed);
        self.placed += 1;
        let superseded = ControlInput::Superseded { avatar: session.avatar, epoch: session.epoch };
        effects.push(Effect::To(Message::Control(superseded)));
        effects.push(Effect::To(Message::Control(ControlInput::Placed { client, lane })));
        effects.push(Effect::To(Message::Lane(lane, LaneInput::Join(session))));
    }

    /// Gives serials to those who wait for one, and leases more if there are none.
    fn serve_serials(&mut self, now: WorldTime, effects: &mut Vec<Effect>) {
        let waiting: Vec<ClientId> = self
            .arriving
            .iter()
            .filter(|(_, arriving)| matches!(arriving.step, Step::AwaitSerial))
            .map(|(client, _)| *client)
            .collect();
        for client in waiting {
            let Some(serial) = self.serials.next() else {
                if !self.leasing {
                    self.leasing = true;
                    self.load(Request::ReadSerials, vec![Key::serials()], effects);
                }
                return;
            };
            let id = EntityId::new(self.config.world, serial);
            let Some(arriving) = self.arriving.get(&client) else { continue };
            match self.newcomer(now, client, id, arriving) {
                Ok((session, writes)) => self.take_epoch(client, session, writes, effects),
                Err(text) => self.fail(client, &text, effects),
            }
        }
    }

    fn serials_read(&mut self, document: &Document, effects: &mut Vec<Effect>) {
        let first = match read::<SerialsDocument>(document) {
            Ok(serials) => serials.map_or(1, |serials| serials.next),
            Err(error) => return self.serials_failed(&error.to_string(), effects),
        };
        let next = SerialsDocument { next: first + SERIAL_LEASE };
        match json::encode(&next) {
            Ok(value) => {
                let write = Write {
                    key: Key::serials(),
                    expected: document.revision,
                    schema: SERIALS_SCHEMA,
                    value: Some(value),
                };
                self.commit(Request::LeaseSerials { first }, vec![write], effects);
            }
            Err(error) => self.serials_failed(&error.to_string(), effects),
        }
    }

    fn serials_failed(&mut self, why: &str, effects: &mut Vec<Effect>) {
        self.leasing = false;
        let waits = |arriving: &Arriving| matches!(arriving.step, Step::AwaitSerial);
        let waiting: Vec<ClientId> =
            self.arriving.iter().filter(|(_, a)| waits(a)).map(|(client, _)| *client).collect();
        for client in waiting {
            self.fail(client, why, effects);
        }
    }
}

impl Machine for Login {
    type Input = LoginInput;
    type Effect = Effect;

    fn handle(&mut self, now: WorldTime, input: LoginInput, effects: &mut Vec<Effect>) {
        match input {
            LoginInput::Hello { client, name, token, arrival } => {
                self.hello(client, name, &token, arrival, effects);
            }
            LoginInput::Gone { client } => {
                self.arriving.remove(&client);
            }
            LoginInput::Loaded { request_id, documents } => match self.requests.remove(&request_id)
            {
                Some(Request::Arriving(client)) => match documents {
                    Some(documents) => self.loaded(now, client, documents, effects),
                    None => self.fail(client, "the store could not read", effects),
                },
                Some(Request::ReadSerials) => {
                    match documents.as_deref().and_then(<[Document]>::first) {
                        Some(document) => self.serials_read(document, effects),
                        None => self.serials_failed("the store could not read", effects),
                    }
                }
                Some(Request::LeaseSerials { .. }) | None => {}
            },
            LoginInput::Committed { request_id, outcome } => {
                match self.requests.remove(&request_id) {
                    Some(Request::Arriving(client)) => self.committed(client, outcome, effects),
                    Some(Request::LeaseSerials { first }) => {
                        // Only a certain commit is a lease; serials of an unknown one are never used.
                        self.leasing = false;
                        if outcome == CommitOutcome::Committed {
                            self.serials = first..first + SERIAL_LEASE;
                        }
                        self.serve_serials(now, effects);
                    }
                    Some(Request::ReadSerials) | None => {}
                }
            }
        }
    }

    fn next_wake(&self) -> Option<WorldTime> {
        None
    }
}

fn with_write(
    (session, mut writes): (Session, Vec<Write>),
    more: Option<Result<Write, String>>,
) -> Result<(Session, Vec<Write>), String> {
    writes.extend(more.transpose()?);
    Ok((session, writes))
}

fn refuse(client: ClientId, refusal: Refusal) -> Effect {
    Effect::To(Message::Control(ControlInput::LoginRefused { client, refusal }))
}
