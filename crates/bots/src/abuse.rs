//! Abusive guests: connections that do what no honest client does, one kind each, and what a node answers to it.
//!
//! The server's tests and its load scenarios use the same guests.

mod bytes;
mod commands;
mod guest;
mod silence;
mod strangers;

pub use guest::VisitError;
pub use silence::Blocked;

use std::borrow::Cow;
use std::net::IpAddr;

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Abuse {
    /// Connects and says nothing.
    SaysNothing,
    /// Says hello and then nothing more.
    FallsSilent,
    /// Sends a message byte by byte.
    Drips,
    /// Asks for much, and reads nothing for a while.
    ReadsNothing,
    /// Sends bytes that are no messages.
    SendsGarbage,
    /// Sends bytes that are no messages, after its welcome.
    SendsGarbageLater,
    /// Sends a message that is too long.
    SendsTooLong,
    /// Sends a message that ends too early.
    SendsTruncated,
    /// Sends a message of a kind that does not exist.
    SendsUnknownKind,
    /// Sends a message with a field that does not exist.
    SendsUnknownField,
    /// Sends a message whose body does not exist.
    SendsUnknownBody,
    /// Speaks only versions that do not exist.
    SpeaksAnotherVersion,
    /// Says hello with a name that is too long.
    HasALongName,
    /// Says hello with a name that is somebody else's.
    TakesAnothersName,
    /// Acts before it is welcomed.
    ActsEarly,
    /// Says hello twice.
    GreetsTwice,
    /// Sends 10,000 commands in a second.
    Floods,
    /// Sends more durable commands than it may.
    ActsTooOften,
    /// Sends more live commands than it may.
    WavesTooOften,
    /// Speaks more than it may.
    TalksTooMuch,
    /// Asks for more content than it may have.
    FetchesTooMuch,
    /// Turns more often than it may, and means the last turn.
    TurnsTooOften,
    /// Pings more than it may.
    PingsTooOften,
    /// Walks where there is no way.
    WalksThroughWalls,
    /// Walks faster than it may.
    WalksTooFast,
    /// Has walked a while ago.
    WalksInThePast,
    /// Will have walked.
    WalksInTheFuture,
    /// Walks a path of too many legs.
    WalksTooFar,
    /// Gathers what is out of reach.
    ReachesTooFar,
    /// Waves to somebody who is not there.
    WavesToNobody,
    /// Sends a command that the game does not know.
    SendsNonsense,
    /// Sends a command that is too large.
    SendsALargeCommand,
    /// Numbers a durable command as if it had sent others before.
    SkipsNumbers,
    /// Sends a durable command again that was done already.
    RepeatsItself,
    /// Acts in a session whose avatar has a newer one.
    ActsWithAnOldEpoch,
    /// Asks for much content before its hello, and does not read it.
    FetchesUnread,
    /// Logs in again and again, to do each time what it may do at once.
    ComesAgain,
    /// Makes new names.
    MakesNames,
    /// Tries tokens for somebody else's name.
    GuessesTokens,
}

/// What a node does about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It refuses the connection, with a public code.
    Refused(Cow<'static, str>),
    /// It closes the session, with a public code.
    Closed(Cow<'static, str>),
    /// It refuses what was asked, with a public code, and goes on.
    Declined(Cow<'static, str>),
    /// It goes on as if nothing had been.
    Served,
    /// It ends the connection without a word that could be read.
    Cut,
}

impl Abuse {
    /// All kinds.
    pub const ALL: [Self; 39] = [
        Self::SaysNothing,
        Self::FallsSilent,
        Self::Drips,
        Self::ReadsNothing,
        Self::SendsGarbage,
        Self::SendsGarbageLater,
        Self::SendsTooLong,
        Self::SendsTruncated,
        Self::SendsUnknownKind,
        Self::SendsUnknownField,
        Self::SendsUnknownBody,
        Self::SpeaksAnotherVersion,
        Self::HasALongName,
        Self::TakesAnothersName,
        Self::ActsEarly,
        Self::GreetsTwice,
        Self::Floods,
        Self::ActsTooOften,
        Self::WavesTooOften,
        Self::TalksTooMuch,
        Self::FetchesTooMuch,
        Self::TurnsTooOften,
        Self::PingsTooOften,
        Self::WalksThroughWalls,
        Self::WalksTooFast,
        Self::WalksInThePast,
        Self::WalksInTheFuture,
        Self::WalksTooFar,
        Self::ReachesTooFar,
        Self::WavesToNobody,
        Self::SendsNonsense,
        Self::SendsALargeCommand,
        Self::SkipsNumbers,
        Self::RepeatsItself,
        Self::ActsWithAnOldEpoch,
        Self::FetchesUnread,
        Self::ComesAgain,
        Self::MakesNames,
        Self::GuessesTokens,
    ];

    /// What a node answers: the table of `docs/limits.md`.
    pub const fn answer(self) -> Answer {
        const fn refused(code: &'static str) -> Answer {
            Answer::Refused(Cow::Borrowed(code))
        }
        const fn closed(code: &'static str) -> Answer {
            Answer::Closed(Cow::Borrowed(code))
        }
        const fn declined(code: &'static str) -> Answer {
            Answer::Declined(Cow::Borrowed(code))
        }
        match self {
            Self::SaysNothing | Self::FetchesUnread => refused("idle"),
            Self::FallsSilent => closed("idle"),
            Self::Drips => closed("stalled"),
            Self::SendsGarbage | Self::ActsEarly => refused("malformed"),
            Self::SendsGarbageLater
            | Self::SendsTooLong
            | Self::SendsTruncated
            | Self::SendsUnknownKind
            | Self::GreetsTwice => closed("malformed"),
            Self::SendsUnknownField
            | Self::SendsUnknownBody
            | Self::TurnsTooOften
            | Self::PingsTooOften
            | Self::MakesNames
            | Self::ReadsNothing
            | Self::RepeatsItself => Answer::Served,
            Self::SpeaksAnotherVersion => refused("version"),
            Self::HasALongName => refused("name"),
            Self::TakesAnothersName | Self::GuessesTokens => refused("token"),
            Self::Floods => closed("flood"),
            Self::ActsTooOften
            | Self::WavesTooOften
            | Self::TalksTooMuch
            | Self::FetchesTooMuch
            | Self::ComesAgain => declined("slow_down"),
            Self::WalksThroughWalls => declined("blocked"),
            Self::WalksTooFast => declined("too_fast"),
            Self::WalksInThePast => declined("late"),
            Self::WalksInTheFuture => declined("early"),
            Self::WalksTooFar => declined("too_long"),
            Self::ReachesTooFar => declined("too_far"),
            Self::WavesToNobody => declined("not_here"),
            Self::SendsNonsense | Self::SendsALargeCommand => declined("malformed"),
            Self::SkipsNumbers => declined("out_of_order"),
            Self::ActsWithAnOldEpoch => closed("superseded"),
        }
    }
}

/// An abusive guest comes, does what it does, and tells what it was answered. `name` is to be nobody else's.
///
/// # Errors
/// If it is not even let in, or the node does not speak the protocol.
pub async fn visit(
    abuse: Abuse,
    address: &str,
    source: Option<IpAddr>,
    name: &str,
) -> Result<Answer, VisitError> {
    let host = Host { address, source };
    match abuse {
        Abuse::SaysNothing => silence::says_nothing(host).await,
        Abuse::FallsSilent => silence::falls_silent(host, name).await,
        Abuse::Drips => silence::drips(host, name).await,
        Abuse::ReadsNothing => silence::reads_nothing(host, name).await,
        Abuse::SendsGarbage => bytes::garbage(host).await,
        Abuse::SendsGarbageLater => bytes::garbage_later(host, name).await,
        Abuse::SendsTooLong => bytes::too_long(host, name).await,
        Abuse::SendsTruncated => bytes::truncated(host, name).await,
        Abuse::SendsUnknownKind => bytes::unknown_kind(host, name).await,
        Abuse::SendsUnknownField => bytes::unknown_field(host, name).await,
        Abuse::SendsUnknownBody => bytes::unknown_body(host, name).await,
        Abuse::SpeaksAnotherVersion => bytes::another_version(host, name).await,
        Abuse::HasALongName => bytes::long_name(host).await,
        Abuse::TakesAnothersName => bytes::anothers_name(host, name).await,
        Abuse::ActsEarly => bytes::acts_early(host).await,
        Abuse::GreetsTwice => bytes::greets_twice(host, name).await,
        Abuse::Floods => commands::floods(host, name).await,
        Abuse::ActsTooOften => commands::acts_too_often(host, name, true).await,
        Abuse::WavesTooOften => commands::acts_too_often(host, name, false).await,
        Abuse::TalksTooMuch => commands::talks_too_much(host, name).await,
        Abuse::FetchesTooMuch => commands::fetches_too_much(host, name).await,
        Abuse::TurnsTooOften => commands::turns_too_often(host, name).await,
        Abuse::PingsTooOften => commands::pings_too_often(host, name).await,
        Abuse::WalksThroughWalls
        | Abuse::WalksTooFast
        | Abuse::WalksInThePast
        | Abuse::WalksInTheFuture
        | Abuse::WalksTooFar => commands::walks(host, name, abuse).await,
        Abuse::ReachesTooFar
        | Abuse::WavesToNobody
        | Abuse::SendsNonsense
        | Abuse::SendsALargeCommand
        | Abuse::SkipsNumbers => commands::acts(host, name, abuse).await,
        Abuse::RepeatsItself => commands::repeats_itself(host, name).await,
        Abuse::ActsWithAnOldEpoch => commands::acts_with_an_old_epoch(host, name).await,
        Abuse::FetchesUnread => strangers::fetches_unread(host, name).await,
        Abuse::ComesAgain => strangers::comes_again(host, name).await,
        Abuse::MakesNames => strangers::makes_names(host, name).await,
        Abuse::GuessesTokens => strangers::guesses_tokens(host, name).await,
    }
}

/// Whom a guest visits, and from where.
#[derive(Clone, Copy)]
struct Host<'a> {
    address: &'a str,
    source: Option<IpAddr>,
}
