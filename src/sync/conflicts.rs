//! Reports virtual servers that two Services claim.
//!
//! Takes the conflicts before and after a round. Returns those that began or ended, as log lines. A
//! conflict that began is also an event of the Service that loses. Does not decide which Service
//! wins.

use std::fmt;

use proxier::model::ServiceName;
use proxier::plan::{Conflicts, VirtualServerKey};

use crate::events::{Event, Kind, Regarding};

/// A change of one conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News<'a> {
    /// A Service loses a virtual server that it claims, or the winner has changed.
    Begins {
        /// The virtual server that is claimed.
        key: VirtualServerKey,
        /// The Service that does not get it.
        loser: &'a ServiceName,
        /// The Service that has it.
        holder: &'a ServiceName,
    },
    /// The losing Service got the virtual server, or does not claim it any more.
    Ends {
        /// The virtual server that was claimed.
        key: VirtualServerKey,
        /// The Service that did not get it.
        loser: &'a ServiceName,
    },
}

/// Returns the changes; ends come first.
pub(crate) fn news<'a>(before: &'a Conflicts, after: &'a Conflicts) -> Vec<News<'a>> {
    let ended = before.keys().filter(|claim| !after.contains_key(*claim));
    let ended = ended.map(|(key, loser)| News::Ends { key: *key, loser });
    let begun = after.iter().filter(|(claim, holder)| before.get(*claim) != Some(*holder));
    let begun = begun.map(|((key, loser), holder)| News::Begins { key: *key, loser, holder });
    ended.chain(begun).collect()
}

impl News<'_> {
    /// Returns the event of the losing Service, if the conflict begins.
    pub(super) fn event(&self) -> Option<Event> {
        match self {
            Self::Ends { .. } => None,
            Self::Begins { key, loser, holder } => Some(Event {
                kind: Kind::Warning,
                reason: "FrontendClaimedTwice",
                action: "Program",
                regarding: Regarding::Service((*loser).clone()),
                note: format!(
                    "address {} port {} protocol {} is claimed by Service {holder} too, which is \
                     older and has it",
                    key.address, key.port, key.protocol
                ),
            }),
        }
    }
}

impl fmt::Display for News<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begins { key, loser, holder } => {
                write!(f, "Service {loser}: {key} is claimed by Service {holder} too, which has it")
            }
            Self::Ends { key, loser } => {
                write!(f, "Service {loser}: {key} is not contested any more")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proxier::model::Protocol;

    use super::*;

    fn service(name: &str) -> ServiceName {
        ServiceName::new("shop", name)
    }

    /// Makes conflicts of `(port, loser, holder)`.
    fn conflicts(claims: &[(u16, &str, &str)]) -> Conflicts {
        let key = |port| VirtualServerKey {
            protocol: Protocol::Tcp,
            address: "192.0.2.7".parse().unwrap(),
            port,
        };
        let claims = claims.iter();
        claims
            .map(|(port, loser, holder)| ((key(*port), service(loser)), service(holder)))
            .collect()
    }

    fn lines(before: &[(u16, &str, &str)], after: &[(u16, &str, &str)]) -> Vec<String> {
        let (before, after) = (conflicts(before), conflicts(after));
        news(&before, &after).iter().map(ToString::to_string).collect()
    }

    const A_LOSES: (u16, &str, &str) = (80, "a", "b");

    #[test]
    fn a_claim_that_lasts_is_told_once() {
        let begins =
            ["Service shop/a: 192.0.2.7:80/tcp is claimed by Service shop/b too, which has it"];
        assert_eq!(lines(&[], &[A_LOSES]), begins);
        assert!(lines(&[A_LOSES], &[A_LOSES]).is_empty());
        let ends = ["Service shop/a: 192.0.2.7:80/tcp is not contested any more"];
        assert_eq!(lines(&[A_LOSES], &[]), ends);
    }

    #[test]
    fn another_holder_is_told() {
        let changed = lines(&[A_LOSES], &[(80, "a", "c")]);
        let wanted =
            ["Service shop/a: 192.0.2.7:80/tcp is claimed by Service shop/c too, which has it"];
        assert_eq!(changed, wanted);
    }

    #[test]
    fn each_loser_and_each_port_is_told_for_itself() {
        let after = [(80, "a", "c"), (80, "b", "c"), (81, "a", "c")];
        assert_eq!(lines(&[(82, "a", "c")], &after).len(), 4);
    }

    #[test]
    fn the_losing_service_is_warned_when_it_begins() {
        let (before, after) = (conflicts(&[(81, "a", "b")]), conflicts(&[A_LOSES]));
        let events: Vec<_> = news(&before, &after).iter().filter_map(News::event).collect();
        let wanted = Event {
            kind: Kind::Warning,
            reason: "FrontendClaimedTwice",
            action: "Program",
            regarding: Regarding::Service(service("a")),
            note: "address 192.0.2.7 port 80 protocol tcp is claimed by Service shop/b too, which \
                   is older and has it"
                .into(),
        };
        assert_eq!(events, [wanted]);
    }
}
