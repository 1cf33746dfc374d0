//! How often a login may be tried before it has to wait.
//!
//! Each try is counted before its password is looked at, so that many at once are no way around, and one that succeeds
//! is taken back. A count begins anew when its time is over; a try that has to wait does not prolong it.

use std::time::Duration;

use chrono::TimeDelta;

/// How many tries there may be within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TryLimit {
    /// How many.
    pub tries: u32,
    /// Within which time, from the first of them on.
    pub within: Duration,
}

/// Tries for one account, from wherever they come.
pub const PER_ACCOUNT: TryLimit = TryLimit { tries: 10, within: Duration::from_secs(15 * 60) };

/// Tries from one address, for whichever account.
pub const PER_ADDRESS: TryLimit = TryLimit { tries: 50, within: Duration::from_secs(15 * 60) };

/// Registrations that are asked for from one network, for whichever address: each of them sends a mail.
pub const REGISTRATIONS_PER_ADDRESS: TryLimit = TryLimit { tries: 5, within: Duration::from_secs(60 * 60) };

/// Registrations that are asked for from all networks together.
pub const REGISTRATIONS: TryLimit = TryLimit { tries: 1_000, within: Duration::from_secs(60 * 60) };

/// Logins elsewhere that may not take an account by its address, for each account and issuer: the audit has an entry of the first.
pub const NOT_LINKED: TryLimit = TryLimit { tries: 0, within: Duration::from_secs(15 * 60) };

/// For how long a session or a link stays after its time, so that one may still look at where it came from.
pub const KEPT: TimeDelta = TimeDelta::days(30);

impl TryLimit {
    /// Whether the try with this number, counted from 1, has to wait.
    pub fn refuses(self, number: u64) -> bool {
        number > u64::from(self.tries)
    }

    /// Whether the try with this number is the first that has to wait.
    pub fn begins_to_refuse(self, number: u64) -> bool {
        number == u64::from(self.tries) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_the_allowed_tries_is_allowed() {
        assert!(!PER_ACCOUNT.refuses(10) && PER_ACCOUNT.refuses(11));
        assert_eq!((9..14).filter(|number| PER_ACCOUNT.begins_to_refuse(*number)).collect::<Vec<_>>(), [11]);
    }
}
