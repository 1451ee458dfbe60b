//! Login: a name becomes an avatar, the avatar gets its next epoch, and the session that begins gets a lane.
//!
//! The login that takes the epoch in the avatar's document owns the avatar; the lane that held it before finds out at
//! its next write, or is told. A name belongs to the token that it was first used with.

mod pauses;
mod release;

use super::applicant::{Applicant, Found, Said, may_be_old, no_name};
use super::budgets::UsedUp;
use super::clients::Stage;
use super::commits::MET_OTHERS;
use super::interface::ArrivalsEffect;
use super::opening::Opening;
use super::serials::Serials;
use super::{Arrivals, Request};
use crate::client_event::ClientEvent;
use crate::documents::avatar::Place;
use crate::documents::token::TokenHash;
use crate::log::{Level, LogLine};
use crate::placement::lane_for;
use crate::session::NewSession;
use crate::store_request::RequestId;
use crate::turn::unavailable;
use pelago_game::{Arrival, Refusal};
use pelago_model::{
    CommitOutcome, Document, EntityId, Epoch, Key, Limit, Name, Retry, Revision, Secret,
    Transaction, WorldTime, Write,
};
use pelago_world::ClientId;

/// Logins under way, those included whose client is gone while the store works for it; more are refused as `busy`.
pub const MAX_LOGINS: usize = 4096;
/// How long a login may take, its pauses included, in ms; then it is refused as `unavailable`. Clients wait a little
/// longer for their welcome.
pub const LOGIN_TIME_MS: i64 = 15_000;
/// How long a login waits for the node that has had its avatar, in ms; then the avatar goes on where the store has it.
pub const RELEASE_MS: i64 = 300;

/// A login under way. It has one request to the store at most.
pub(super) struct Login {
    applicant: Applicant,
    /// Its attempts: one that meets others begins anew, after a pause.
    retry: Retry,
    /// Whether it has been counted against the budgets of its address and avatar: once, however often it begins anew.
    is_counted: bool,
    /// When it is refused, whatever it waits for then.
    deadline: WorldTime,
    /// Where the session of an epoch has let go of the avatar.
    released: Option<(Epoch, Place)>,
    /// What reserves the name for those who look like it, if that is not done yet.
    reserve: Option<Write>,
    step: Step,
}

enum Step {
    ReadName,
    ReadAvatar {
        avatar: EntityId,
        /// The revision of a name that no token was bound to yet.
        unbound: Option<Revision>,
    },
    /// The node that has had the avatar is asked to let go. The documents are those of
    /// [`ReadAvatar`](Self::ReadAvatar), read before.
    AwaitRelease {
        avatar: EntityId,
        epoch: Epoch,
        unbound: Option<Revision>,
        documents: Vec<Document>,
        call: RequestId,
        until: WorldTime,
    },
    /// A name that nobody bears waits for a serial.
    AwaitSerial,
    /// Waits until then to begin anew, or until the store is to be tried again.
    Pause(WorldTime),
    Commit(Box<NewSession>),
    /// The client is gone: the end of its request ends the login.
    Abandoned,
}

impl Login {
    fn new(applicant: Applicant, deadline: WorldTime) -> Self {
        Self {
            applicant,
            retry: Retry::new(MET_OTHERS),
            is_counted: false,
            deadline,
            released: None,
            reserve: None,
            step: Step::ReadName,
        }
    }
}

impl Arrivals {
    pub(super) fn begin_login(
        &mut self,
        now: WorldTime,
        client: ClientId,
        name: String,
        token: &Secret,
        arrival: Arrival,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        let canonical = Name::parse(&name);
        if let Err(problem) = canonical
            && !may_be_old(&name)
        {
            return self.refuse(client, &no_name(problem), effects);
        }
        if self.logins.len() >= MAX_LOGINS {
            self.limits.note(Limit::Logins);
            let refusal = Refusal::new("busy", "Too many arrive at once. Try again in a moment.");
            return self.refuse(client, &refusal, effects);
        }
        let hash = |name: &str| match self.tokens_are_hashes {
            false => TokenHash::of(name, token),
            true => TokenHash::of_text(token.reveal()),
        };
        let canonical_token = hash(canonical.as_ref().map_or(&name, Name::as_str));
        let (Some(token), Some(canonical_token)) = (hash(&name), canonical_token) else {
            let refusal = Refusal::new("token", "A token has 16 to 64 bytes.");
            return self.refuse(client, &refusal, effects);
        };
        let said = Said { name, token };
        let applicant =
            Applicant { client, said, name: canonical, token: canonical_token, arrival };
        let deadline = now.plus(LOGIN_TIME_MS);
        self.logins.insert(client, Login::new(applicant, deadline));
        self.login_wakes.insert((deadline, client));
        self.attempt(client, effects);
    }

    /// The client is gone or sent away.
    pub(super) fn abandon_login(&mut self, client: ClientId) {
        self.serials.leave(client);
        let Some(login) = self.logins.get_mut(&client) else { return };
        match login.step {
            // Nothing is under way for it.
            Step::AwaitSerial | Step::Pause(_) => {
                self.remove_login(client);
            }
            // Where the avatar is let go of is committed: otherwise the next login would begin somewhere else.
            Step::AwaitRelease { .. } => {}
            _ => login.step = Step::Abandoned,
        }
    }

    fn attempt(&mut self, client: ClientId, effects: &mut Vec<ArrivalsEffect>) {
        let Some(login) = self.logins.get_mut(&client) else { return };
        login.step = Step::ReadName;
        let keys = login.applicant.keys();
        self.load(Request::Login(client), keys, effects);
    }

    fn remove_login(&mut self, client: ClientId) -> Option<Login> {
        let login = self.logins.remove(&client)?;
        self.login_wakes.remove(&(login.deadline, client));
        if let Step::Pause(until) = login.step {
            self.login_wakes.remove(&(until, client));
        }
        Some(login)
    }

    /// Ends a login for a reason that is not the client's business.
    fn fail(&mut self, client: ClientId, why: &str, effects: &mut Vec<ArrivalsEffect>) {
        self.end_login(
            client,
            Level::Warn,
            format!("login failed: {why}"),
            &unavailable(),
            effects,
        );
    }

    fn end_login(
        &mut self,
        client: ClientId,
        level: Level,
        text: String,
        refusal: &Refusal,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        if self.remove_login(client).is_some() {
            effects.push(ArrivalsEffect::Log(LogLine::traced(level, client.0, text)));
            self.refuse(client, refusal, effects);
        }
    }

    /// Whether a login ends with its request because its client is gone.
    fn is_over(&mut self, client: ClientId) -> bool {
        let over = match self.logins.get(&client) {
            Some(login) => matches!(login.step, Step::Abandoned),
            None => return true,
        };
        if over {
            self.remove_login(client);
        }
        over
    }

    /// `documents` is `None` if the store could not read them.
    pub(super) fn login_loaded(
        &mut self,
        now: WorldTime,
        client: ClientId,
        documents: Option<&[Document]>,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        if self.is_over(client) {
            return;
        }
        let Some(documents) = documents else {
            return self.fail(client, "the store could not read", effects);
        };
        match self.logins.get(&client).map(|login| &login.step) {
            Some(Step::ReadName) => self.name_read(now, client, documents, effects),
            Some(&Step::ReadAvatar { avatar, unbound }) => {
                self.avatar_read(now, client, (avatar, unbound), documents, effects);
            }
            Some(
                Step::AwaitRelease { .. }
                | Step::AwaitSerial
                | Step::Pause(_)
                | Step::Commit(_)
                | Step::Abandoned,
            )
            | None => {}
        }
    }

    fn name_read(
        &mut self,
        now: WorldTime,
        client: ClientId,
        documents: &[Document],
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        let Some(login) = self.logins.get_mut(&client) else { return };
        match login.applicant.look_up(documents) {
            Ok(Found::Avatar(name)) => {
                if name.is_foreign {
                    return self.foreign(now, client, effects);
                }
                login.reserve = name.reserve;
                login.step = Step::ReadAvatar { avatar: name.avatar, unbound: name.is_unbound };
                let is_first = !std::mem::replace(&mut login.is_counted, true);
                // Only somebody who has the token can use up the budget of an avatar.
                if is_first
                    && let Err(used_up) =
                        self.budgets.account(now, &self.config.limits, name.avatar)
                {
                    return self.used_up(client, used_up, effects);
                }
                self.load(Request::Login(client), Opening::keys(name.avatar), effects);
            }
            Ok(Found::Nobody { reserve }) => {
                login.reserve = Some(reserve);
                let is_first = !std::mem::replace(&mut login.is_counted, true);
                if is_first
                    && let Some(known) = self.clients.get(&client)
                    && let Err(used_up) =
                        self.budgets.new_name(now, &self.config.limits, known.origin)
                {
                    return self.used_up(client, used_up, effects);
                }
                let Some(login) = self.logins.get_mut(&client) else { return };
                login.step = Step::AwaitSerial;
                self.serials.wait(client);
                self.give_serials(now, effects);
            }
            Ok(Found::LookAlike) => {
                let text = "login refused: the name looks like one that is taken".to_owned();
                let sentence = "That name looks too much like somebody else's.";
                let refusal = Refusal::new("name", sentence);
                self.end_login(client, Level::Info, text, &refusal, effects);
            }
            Ok(Found::NoName(problem)) => {
                let text = format!("login refused: {problem}");
                self.end_login(client, Level::Info, text, &no_name(problem), effects);
            }
            Err(error) => self.fail(client, &error, effects),
        }
    }

    /// The name is somebody else's.
    fn foreign(&mut self, now: WorldTime, client: ClientId, effects: &mut Vec<ArrivalsEffect>) {
        if let Some(known) = self.clients.get(&client) {
            self.budgets.wrong_token(now, &self.config.limits, known.origin);
        }
        let text = "login refused: the name is bound to another token".to_owned();
        let refusal = Refusal::new("token", "That name belongs to somebody else.");
        self.end_login(client, Level::Info, text, &refusal, effects);
    }

    fn used_up(
        &mut self,
        client: ClientId,
        (limit, refusal): UsedUp,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        self.limits.note(limit);
        let text = format!("login refused: {} is used up", limit.name());
        self.end_login(client, Level::Debug, text, &refusal, effects);
    }

    /// Gives serials to those who wait for one, and leases more if there are none.
    fn give_serials(&mut self, now: WorldTime, effects: &mut Vec<ArrivalsEffect>) {
        while let Some(client) = self.serials.first() {
            if !self.may_commit(now, client) {
                self.serials.leave(client);
                continue;
            }
            let Some(serial) = self.serials.give(client) else { break };
            let Some(login) = self.logins.get(&client) else { continue };
            let id = EntityId::new(self.config.world, serial);
            let company = &mut self.company;
            let opening = Opening::of_newcomer(&self.config, now, &login.applicant, id, company);
            self.take_epoch(client, opening, effects);
        }
        if self.serials.begins_lease() {
            self.load(Request::ReadSerials, vec![Key::serials()], effects);
        }
    }

    /// `document` is `None` if the store could not read it.
    pub(super) fn serials_read(
        &mut self,
        now: WorldTime,
        document: Option<&Document>,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        match document.ok_or_else(|| "the store could not read".into()).and_then(Serials::lease) {
            Ok(lease) => match self.commits.begin(now, lease.first) {
                Ok(()) => {
                    let request = Request::LeaseSerials { first: lease.first };
                    self.commit(request, vec![lease.write], effects);
                }
                Err(until) => self.serials.wait_until(until),
            },
            Err(why) => self.no_serials(&why, effects),
        }
    }

    /// Only a certain commit is a lease.
    pub(super) fn serials_committed(
        &mut self,
        now: WorldTime,
        first: u64,
        outcome: &CommitOutcome,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        let chance = first ^ now.0.cast_unsigned();
        self.commits.ended(now, outcome, chance);
        if matches!(outcome, CommitOutcome::Committed) {
            self.serials.leased(first);
            self.give_serials(now, effects);
        } else if !self.serials.tries_again(now, chance) {
            self.no_serials("a lease of serials met too many conflicts", effects);
        }
    }

    fn no_serials(&mut self, why: &str, effects: &mut Vec<ArrivalsEffect>) {
        for client in self.serials.failed() {
            self.fail(client, why, effects);
        }
    }

    fn take_epoch(
        &mut self,
        client: ClientId,
        opening: Result<Opening, String>,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        match opening {
            Ok(Opening { session, mut writes }) => {
                let Some(login) = self.logins.get_mut(&client) else { return };
                writes.extend(login.reserve.take());
                login.step = Step::Commit(Box::new(session));
                self.commit(Request::Login(client), writes, effects);
            }
            Err(why) => self.fail(client, &why, effects),
        }
    }

    pub(super) fn login_committed(
        &mut self,
        now: WorldTime,
        client: ClientId,
        outcome: &CommitOutcome,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        self.commits.ended(now, outcome, chance(now, client));
        if self.is_over(client) {
            return;
        }
        if !matches!(outcome, CommitOutcome::Committed) {
            // An unknown outcome may have taken an epoch; the next one fences it.
            return self.attempt_later(now, client, effects);
        }
        let Some(login) = self.remove_login(client) else { return };
        if let Step::Commit(session) = login.step {
            self.place(session, effects);
        }
    }

    fn place(&mut self, session: Box<NewSession>, effects: &mut Vec<ArrivalsEffect>) {
        let NewSession { client, avatar, epoch, place, .. } = *session;
        let place = (place.island, place.position.chunk());
        let lane = lane_for(place, self.config.lanes, self.config.spread, self.placed);
        self.placed += 1;
        effects.push(ArrivalsEffect::Superseded { avatar, epoch });
        effects.push(ArrivalsEffect::Place { lane, session });
        let Some(known) = self.clients.get_mut(&client) else { return };
        known.stage = Stage::Placed(lane);
        if known.is_blocked {
            let event = ClientEvent::Blocked;
            effects.push(ArrivalsEffect::Forward { lane, client, event });
        }
    }

    fn load(&mut self, request: Request, keys: Vec<Key>, effects: &mut Vec<ArrivalsEffect>) {
        let request = self.requests.begin(request);
        effects.push(ArrivalsEffect::Load { request, keys });
    }

    fn commit(&mut self, request: Request, writes: Vec<Write>, effects: &mut Vec<ArrivalsEffect>) {
        let request = self.requests.begin(request);
        let transaction = Transaction { checks: Vec::new(), writes };
        effects.push(ArrivalsEffect::Commit { request, transaction });
    }
}

/// Spreads the pauses of logins that failed together.
fn chance(now: WorldTime, client: ClientId) -> u64 {
    now.0.cast_unsigned() ^ client.0.rotate_left(32)
}
