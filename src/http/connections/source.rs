//! Where clients connect from.

use std::net::{IpAddr, Ipv6Addr};

/// The origin of a connection. Addresses among which one client can choose at will count as one
/// source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::http) enum Source {
    Unix,
    Loopback,
    Address(IpAddr),
}

impl Source {
    /// All IPv6 addresses with the same /64 prefix are one source.
    pub(in crate::http) fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        if address.is_loopback() {
            return Self::Loopback;
        }
        Self::Address(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => {
                let prefix = address.to_bits() & !u128::from(u64::MAX);
                Ipv6Addr::from_bits(prefix).into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_one_client_can_choose_at_will_are_one_source() {
        let of = |address: &str| Source::of(address.parse().unwrap());
        for (one, other, are_same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("127.0.0.1", "127.8.8.8", true),
            ("127.0.0.1", "::1", true),
            ("127.0.0.1", "::ffff:127.0.0.2", true),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(of(one) == of(other), are_same, "{one} {other}");
        }
    }
}
