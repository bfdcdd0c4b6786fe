//! Binds the listen addresses that the configuration was resolved to.

use anyhow::anyhow;

use crate::config::Address;
use crate::http::listener::Listener;

/// Listens on the first of the addresses that can be bound.
pub(super) fn bind(address: &Address) -> anyhow::Result<Listener> {
    match address {
        Address::Unix(path) => Listener::bind(&format!("unix:{}", path.display())),
        Address::Tcp(addresses) => {
            let mut bound = Err(anyhow!("the host to listen on has no address"));
            for address in addresses {
                // A numeric address is not looked up again.
                bound = Listener::bind(&address.to_string());
                if bound.is_ok() {
                    break;
                }
            }
            bound
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_first_address_that_can_be_bound_is_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().unwrap();
        let free = "127.0.0.2:0".parse().unwrap();
        let Ok(Listener::Tcp(bound)) = bind(&Address::Tcp(vec![taken, free])) else {
            panic!("the second address is free");
        };
        assert_eq!(bound.local_addr().unwrap().ip(), free.ip());
        let error = bind(&Address::Tcp(vec![taken])).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot listen on {taken} ")),
            "{error}"
        );
        assert!(bind(&Address::Tcp(Vec::new())).is_err());
    }
}
