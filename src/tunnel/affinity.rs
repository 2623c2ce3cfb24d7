//! Which tunnel the calls of one session go to: that with the highest weight.
//!
//! Rendezvous hashing (Thaler and Ravishankar, 1998): each tunnel's weight is a hash of its id and
//! the session. When a tunnel goes, only its sessions move, and they spread over all the others;
//! when one comes, it takes its share from each. Nothing is remembered, so there is nothing to
//! bound and nothing that workers would have to agree on.

use super::id::TunnelId;

/// What the calls of one session have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session(u64);

// FNV-1a with 64 bits (draft-eastlake-fnv): it is fixed for ever, needs no state, and what it lacks
// in mixing the finisher below makes up for.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl Session {
    /// The session with this name, which may be any bytes.
    pub fn named(name: &[u8]) -> Self {
        let hash = name
            .iter()
            .fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME));
        Self(hash)
    }

    /// What a tunnel weighs for this session.
    pub fn weight(self, tunnel: TunnelId) -> u64 {
        let (high, low) = tunnel.halves();
        mixed(mixed(self.0 ^ high) ^ low)
    }
}

/// The finisher of splitmix64: every bit of the input moves half of the output.
pub fn mixed(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_the_same_in_every_process() {
        // The published test vectors of FNV-1a.
        assert_eq!(Session::named(b""), Session(0xcbf2_9ce4_8422_2325));
        assert_eq!(Session::named(b"a"), Session(0xaf63_dc4c_8601_ec8c));
        assert_eq!(Session::named(b"foobar"), Session(0x8594_4171_f739_67e8));
    }

    #[test]
    fn sessions_spread_over_all_tunnels_however_alike_their_names_are() {
        let tunnels: Vec<_> = (0..8).map(|_| TunnelId::random()).collect();
        let mut counts = [0usize; 8];
        for number in 0..8_000 {
            let session = Session::named(format!("session-{number}").as_bytes());
            let chosen = (0..8).max_by_key(|place| session.weight(tunnels[*place])).unwrap();
            counts[chosen] += 1;
        }
        // 1,000 each; four standard deviations are 118.
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }
}
