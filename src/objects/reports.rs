//! Which problems the operator has been told of.
//!
//! In: each object's problems, every time it is seen. Out: one warning for each problem when it
//! first appears. Never: the same warning again because of a relist or an unrelated change; once
//! a problem is gone, or its object, it is forgotten and would be told again.

use std::collections::BTreeMap;

use super::problem::{ObjectId, Problem};

/// The problems that are known to be in force, by object.
#[derive(Debug, Default)]
pub struct Reports {
    known: BTreeMap<ObjectId, Vec<Problem>>,
}

impl Reports {
    /// Takes note of one object's problems, all of them, and logs those that are new.
    pub fn update(&mut self, object: &ObjectId, problems: Vec<Problem>) {
        let news = self.news(object, &problems);
        for problem in &news {
            tracing::warn!("{problem}");
        }
        if problems.is_empty() {
            self.known.remove(object);
        } else {
            self.known.insert(object.clone(), problems);
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&mut self, object: &ObjectId) {
        self.known.remove(object);
    }

    /// Forgets all objects that are not among those for which `present` holds, after a list.
    pub fn retain(&mut self, mut present: impl FnMut(&ObjectId) -> bool) {
        self.known.retain(|object, _| present(object));
    }

    /// All problems in force, by object.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.known.values().flatten()
    }

    fn news(&self, object: &ObjectId, problems: &[Problem]) -> Vec<Problem> {
        let told = self.known.get(object).map_or(&[][..], Vec::as_slice);
        problems.iter().filter(|problem| !told.contains(problem)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Reports;
    use crate::objects::problem::{Kind, ObjectId, Problem};

    fn object(name: &str) -> ObjectId {
        ObjectId { kind: Kind::Service, namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn problem(field: &str) -> Problem {
        Problem { object: object("web"), field: field.to_owned(), message: "is bad".to_owned() }
    }

    #[test]
    fn a_problem_is_news_once_until_it_is_gone() {
        let mut reports = Reports::default();
        assert_eq!(reports.news(&object("web"), &[problem("a")]), [problem("a")]);
        reports.update(&object("web"), vec![problem("a")]);
        assert_eq!(reports.news(&object("web"), &[problem("a")]), []);
        assert_eq!(reports.news(&object("web"), &[problem("a"), problem("b")]), [problem("b")]);
        reports.update(&object("web"), vec![]);
        assert_eq!(reports.news(&object("web"), &[problem("a")]), [problem("a")]);
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
