//! Tickets that were verified before, so that the same one is not inflated and hashed again.

use super::codes::Code;
use super::usersig::{Key, verify};
use quick_cache::sync::Cache;

/// How many tickets are remembered. Only genuine ones are, so strangers cannot push them out.
const VERIFIED_MAX: usize = 4096;

/// The tickets of one app. Changing its keys means beginning with a new one of these.
pub(super) struct VerifiedTickets {
    sdk_app_id: u64,
    keys: Vec<Key>,
    verified: Cache<Box<str>, Verified>,
}

#[derive(Clone)]
struct Verified {
    identifier: Box<str>,
    expires_at: u64,
}

impl VerifiedTickets {
    pub(super) fn new(sdk_app_id: u64, keys: Vec<Key>) -> VerifiedTickets {
        VerifiedTickets { sdk_app_id, keys, verified: Cache::new(VERIFIED_MAX) }
    }

    /// As [`verify`]; what is remembered counts no longer than the ticket itself says.
    pub(super) fn verify(&self, ticket: &str, identifier: &str, now: u64) -> Result<(), Code> {
        if let Some(known) = self.verified.get(ticket)
            && &*known.identifier == identifier
        {
            if now < known.expires_at {
                return Ok(());
            }
            self.verified.remove(ticket);
        }
        let expires_at = verify(ticket, &self.keys, self.sdk_app_id, identifier, now)?;
        let verified = Verified { identifier: identifier.into(), expires_at };
        self.verified.insert(ticket.into(), verified);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::usersig::generate;

    #[test]
    fn what_is_remembered_expires_and_belongs_to_its_identifier() {
        let key = Key::new("secret");
        let tickets = VerifiedTickets::new(7, vec![key.clone()]);
        let ticket = generate(&key, 7, "admin", 1000, 60).unwrap();
        for now in [1000, 1059] {
            assert_eq!(tickets.verify(&ticket, "admin", now), Ok(()));
            assert_eq!(tickets.verify(&ticket, "other", now), Err(Code::SigOfOther));
        }
        assert_eq!(tickets.verified.len(), 1);
        assert_eq!(tickets.verify(&ticket, "admin", 1060), Err(Code::SigExpired));
        assert_eq!(tickets.verified.len(), 0);
        let foreign = generate(&Key::new("foreign"), 7, "admin", 1000, 60).unwrap();
        assert_eq!(tickets.verify(&foreign, "admin", 1000), Err(Code::SigWrong));
        assert_eq!(tickets.verified.len(), 0, "only genuine tickets are remembered");
    }
}
