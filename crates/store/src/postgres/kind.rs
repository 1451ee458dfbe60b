//! The database product, and what follows from it.

/// The database product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    PostgreSql,
    /// Has no transaction numbers that grow in the order in which transactions end: no feed.
    CockroachDb,
    /// As above.
    YugabyteDb,
}

impl Kind {
    /// From what the database says of itself.
    pub(super) fn of(version: &str) -> Self {
        if version.contains("CockroachDB") {
            Self::CockroachDb
        } else if version.contains("-YB-") {
            Self::YugabyteDb
        } else {
            Self::PostgreSql
        }
    }
}

/// Whether it tells its changes: the feed follows PostgreSQL's transaction numbers.
pub(super) fn has_feed(kind: Kind) -> bool {
    kind == Kind::PostgreSql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_say_whose_they_are() {
        for (version, kind) in [
            ("PostgreSQL 15.14 (Debian 15.14-0+deb12u1) on x86_64-pc-linux-gnu", Kind::PostgreSql),
            ("CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu, built 2024/05/15)", Kind::CockroachDb),
            ("PostgreSQL 11.2-YB-2.20.1.3-b0 on x86_64-pc-linux-gnu", Kind::YugabyteDb),
        ] {
            assert_eq!(Kind::of(version), kind);
        }
    }
}
