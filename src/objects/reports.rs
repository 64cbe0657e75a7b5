//! Reports the problems of objects to the operator.
//!
//! Takes each object's problems, every time it is seen. Each problem is one lasting condition, from the first time that
//! it is seen until it or its object is gone. Relists and unrelated changes do not matter.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::{ObjectId, Problem, Spoils};
use crate::lasting::{Area, Lasting};

/// The problems that are known to be in force, by object.
#[derive(Debug, Default)]
pub struct Reports {
    known: BTreeMap<ObjectId, Vec<Problem>>,
    lasting: Lasting,
}

impl Reports {
    /// Starts without problems. New ones are kept in `lasting` for reminders.
    pub fn new(lasting: Lasting) -> Self {
        Self { known: BTreeMap::new(), lasting }
    }

    /// Takes all problems of one object.
    pub fn update(&mut self, object: &ObjectId, problems: Vec<Problem>) {
        // Problems that differ only in what they spoil are one condition.
        let mut keys = BTreeSet::new();
        for problem in &problems {
            let kept = match problem.spoils {
                Spoils::Part => "",
                Spoils::Object => "; what was last known of the object stays in force",
            };
            let key = problem.to_string();
            self.lasting.begin(Area::Objects, key.as_str(), format!("{key}{kept}"));
            keys.insert(key);
        }
        let known = self.known.remove(object).unwrap_or_default();
        let known = known.iter().map(ToString::to_string);
        for gone in known.filter(|key| !keys.contains(key)) {
            self.lasting.end(Area::Objects, &gone);
        }
        if !problems.is_empty() {
            self.known.insert(object.clone(), problems);
        }
    }

    /// Forgets an object that is gone, and its problems.
    pub fn forget(&mut self, object: &ObjectId) {
        self.update(object, Vec::new());
    }

    /// Forgets all objects for which `present` is false. Called after a list.
    pub fn retain(&mut self, mut present: impl FnMut(&ObjectId) -> bool) {
        let absent = self.known.keys().filter(|object| !present(object));
        for object in absent.cloned().collect::<Vec<_>>() {
            self.forget(&object);
        }
    }

    /// Returns all problems in force, by object.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.known.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::Reports;
    use crate::lasting::Lasting;
    use crate::objects::problem::{Kind, ObjectId, Problem, Spoils};

    fn object(name: &str) -> ObjectId {
        ObjectId { kind: Kind::Service, namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn problem(field: &str) -> Problem {
        let (field, message, spoils) = (field.to_owned(), "is bad".to_owned(), Spoils::Part);
        Problem { object: object("web"), field, message, spoils }
    }

    #[test]
    fn a_problem_lasts_until_it_or_its_object_is_gone() {
        let lasting = Lasting::default();
        let mut reports = Reports::new(lasting.clone());
        let texts = |fields: &[&str]| -> Vec<String> {
            fields.iter().map(|field| problem(field).to_string()).collect()
        };
        for fields in [&["a"][..], &["a"], &["a", "b"], &["b"], &[], &["a"]] {
            let problems = fields.iter().map(|field| problem(field)).collect();
            reports.update(&object("web"), problems);
            assert_eq!(lasting.texts(), texts(fields));
        }
        reports.forget(&object("web"));
        assert_eq!(lasting.texts(), [""; 0]);
    }

    #[test]
    fn a_problem_that_comes_to_spoil_the_whole_object_is_the_same_condition() {
        let lasting = Lasting::default();
        let mut reports = Reports::new(lasting.clone());
        reports.update(&object("web"), vec![problem("a")]);
        reports.update(&object("web"), vec![Problem { spoils: Spoils::Object, ..problem("a") }]);
        let text = format!("{}; what was last known of the object stays in force", problem("a"));
        assert_eq!(lasting.texts(), [text]);
    }

    #[test]
    fn an_object_that_is_gone_is_forgotten() {
        let mut reports = Reports::default();
        reports.update(&object("web"), vec![problem("a")]);
        reports.retain(|object| object.name == "web");
        assert_eq!(reports.problems().count(), 1);
        reports.retain(|object| object.name != "web");
        assert_eq!(reports.problems().count(), 0);
        reports.update(&object("web"), vec![problem("a")]);
        reports.forget(&object("web"));
        assert_eq!(reports.problems().count(), 0);
    }
}
