//! What the database says, and what is to be done about it.

use crate::ReadError;
use std::error::Error as _;
use std::time::Duration;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// Why a statement has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database or the connection to it said so.
    Said(Error),
    /// It did not answer in time.
    Silent,
    /// It took the connection, perhaps, and said nothing for this long.
    NoConnection(Duration),
    /// Somebody else was faster.
    Raced,
    /// It answered something that it should not.
    Odd(String),
}

/// What is to be done about a failure before `COMMIT` was sent, so that nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Others were in the way: try again.
    Retry,
    /// The connection is of no use any more: try again with another one.
    Reconnect,
    /// The database refuses, and would again.
    GiveUp,
}

impl Failure {
    pub(super) fn remedy(&self) -> Remedy {
        let error = match self {
            Self::Said(error) => error,
            Self::Raced => return Remedy::Retry,
            Self::Silent | Self::NoConnection(_) | Self::Odd(_) => return Remedy::Reconnect,
        };
        let Some(code) = error.code() else { return Remedy::Reconnect };
        if is_in_the_way(code) {
            return Remedy::Retry;
        }
        let reconnect = [
            // A leader that became a standby.
            &SqlState::READ_ONLY_SQL_TRANSACTION,
            &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            // A prepared statement that is not known or not valid any more.
            &SqlState::INVALID_SQL_STATEMENT_NAME,
            &SqlState::FEATURE_NOT_SUPPORTED,
        ];
        // Class 08: the connection; class 57P: an operator, a crash, a start.
        let gone = code.code().starts_with("08") || code.code().starts_with("57P");
        if gone || reconnect.contains(&code) { Remedy::Reconnect } else { Remedy::GiveUp }
    }

    /// Whether the answer to `COMMIT` says for sure that nothing has happened.
    pub(super) fn undid_the_commit(&self) -> bool {
        matches!(self, Self::Said(error) if error.code().is_some_and(is_in_the_way))
    }

    /// Whether the database itself refused a statement: then its transaction can only be rolled back.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Said(error) if error.code().is_some())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Said(error) => f.write_str(&describe(error)),
            Self::Silent => f.write_str("the database does not answer"),
            Self::NoConnection(limit) => {
                write!(f, "it does not answer within {} s of connecting", limit.as_secs_f32())
            }
            Self::Raced => f.write_str("another process was faster"),
            Self::Odd(what) => f.write_str(what),
        }
    }
}

fn is_in_the_way(code: &SqlState) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        // Two made the row of an absent document, and the database did not make one of them wait.
        SqlState::UNIQUE_VIOLATION,
    ]
    .contains(code)
}

/// What an error says, with its causes. The client library never puts a password into one.
pub(super) fn describe(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", said.message(), said.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

/// A failure as readers are told it.
pub(super) fn read_error(failure: &Failure) -> ReadError {
    ReadError::Engine(failure.to_string())
}

/// What an operator can do about an error at the start.
pub(super) fn advise(failure: &Failure) -> String {
    let advice = match failure {
        Failure::Said(error) => error.code().and_then(advice),
        _ => None,
    };
    match advice {
        Some(advice) => format!("{failure}; {advice}"),
        None => failure.to_string(),
    }
}

fn advice(code: &SqlState) -> Option<&'static str> {
    Some(match code {
        code if *code == SqlState::INVALID_PASSWORD
            || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
        {
            "user and password stand before the host, or the password in the file of the option password_file"
        }
        code if *code == SqlState::INVALID_CATALOG_NAME => {
            "create the database first (CREATE DATABASE), or name another one"
        }
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            "the user needs SELECT, INSERT, UPDATE and DELETE on pelago_meta, pelago_documents and pelago_feed, and CREATE on \
             the schema if there are no such tables yet"
        }
        code if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::UNDEFINED_COLUMN => {
            "pelago_meta says that the tables of this version were created here, but they are not as they were: restore them"
        }
        code if *code == SqlState::READ_ONLY_SQL_TRANSACTION => {
            "a standby takes no writes: name the leader, or all members (postgres://USER@HOST1,HOST2/DATABASE)"
        }
        _ => return None,
    })
}
