//! Virtual servers that two Services claim.
//!
//! In: the contested ones before and after a round. Out: what began and what ended, as a line and,
//! where something began, as an event of the Service that goes without. Never: a say in who has it.

use std::fmt;

use proxier::model::ServiceName;
use proxier::plan::{Conflicts, VirtualServerKey};

use crate::events::{Event, Kind, Regarding};

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News<'a> {
    /// A Service goes without a virtual server that it claims, or another one has it now.
    Begins {
        /// What is claimed.
        key: VirtualServerKey,
        /// Who goes without it.
        loser: &'a ServiceName,
        /// Who has it.
        holder: &'a ServiceName,
    },
    /// Its claim is met, or is no more.
    Ends {
        /// What was claimed.
        key: VirtualServerKey,
        /// Who went without it.
        loser: &'a ServiceName,
    },
}

/// What differs; the ends come first.
pub(super) fn news<'a>(before: &'a Conflicts, after: &'a Conflicts) -> Vec<News<'a>> {
    let ended = before.keys().filter(|claim| !after.contains_key(*claim));
    let ended = ended.map(|(key, loser)| News::Ends { key: *key, loser });
    let begun = after.iter().filter(|(claim, holder)| before.get(*claim) != Some(*holder));
    let begun = begun.map(|((key, loser), holder)| News::Begins { key: *key, loser, holder });
    ended.chain(begun).collect()
}

impl News<'_> {
    /// What the losing Service is told when it begins.
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

    /// Claims of `(port, loser, holder)`.
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
