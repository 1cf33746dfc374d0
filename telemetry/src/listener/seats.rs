//! How many connections there are at once, in all and from each peer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts the connections of a listener.
#[derive(Debug, Clone)]
pub(super) struct Seats {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
    most_per_peer: usize,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All are taken.
    Listener,
    /// The peer has all that one may have.
    Peer,
}

impl Full {
    /// The word under which it is counted.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Listener => "connections",
            Self::Peer => "connections_per_peer",
        }
    }
}

/// A connection's seat, which is free again when the last clone is dropped. What goes on with a connection after it has
/// ceased to be HTTP, such as a WebSocket, keeps one.
#[derive(Debug, Clone)]
pub struct ConnectionSeat {
    _seat: Arc<Seat>,
}

#[derive(Debug)]
struct Seat {
    seats: Seats,
    peer: IpAddr,
}

impl Seats {
    pub(super) fn new(most: usize, most_per_peer: usize) -> Self {
        Self { taken: Arc::default(), most, most_per_peer }
    }

    pub(super) fn take(&self, address: IpAddr) -> Result<ConnectionSeat, Full> {
        let (mut taken, peer) = (self.lock(), peer_network(address));
        // Only peers with connections are in the map, so that it has at most as many entries as there are seats.
        if taken.values().sum::<usize>() >= self.most {
            return Err(Full::Listener);
        }
        let of_peer = taken.get(&peer).copied().unwrap_or_default();
        if of_peer >= self.most_per_peer {
            return Err(Full::Peer);
        }
        taken.insert(peer, of_peer + 1);
        Ok(ConnectionSeat { _seat: Arc::new(Seat { seats: self.clone(), peer }) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        match taken.get_mut(&self.peer) {
            Some(of_peer) if *of_peer > 1 => *of_peer -= 1,
            _ => drop(taken.remove(&self.peer)),
        }
    }
}

/// Who counts as one: an IPv4 address in either spelling, or the first 64 bits of one of IPv6, because one host has all
/// addresses of that network.
pub fn peer_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn seats_are_counted_in_all_and_for_each_peer_and_are_free_again() {
        let seats = Seats::new(3, 2);
        let (first, _second) = (seats.take(ip("192.0.2.1")).expect("free"), seats.take(ip("192.0.2.1")).expect("free"));
        assert_eq!(seats.take(ip("::ffff:192.0.2.1")).err(), Some(Full::Peer), "the same in another spelling");
        let third = seats.take(ip("2001:db8::1")).expect("free");
        assert_eq!(seats.take(ip("192.0.2.2")).err(), Some(Full::Listener));
        drop(third);
        let _other = seats.take(ip("192.0.2.2")).expect("free again");
        drop(first);
        let _again = seats.take(ip("192.0.2.1")).expect("free again");
        assert_eq!(seats.lock().len(), 2);
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        let seats = Seats::new(9, 1);
        let _one = seats.take(ip("2001:db8:0:1::1")).expect("free");
        assert_eq!(seats.take(ip("2001:db8:0:1:ffff::1")).err(), Some(Full::Peer));
        seats.take(ip("2001:db8:0:2::1")).expect("another network");
    }
}
