//! Logs the problems of objects.
//!
//! Takes each object's problems, every time it is seen. Logs one warning for each problem when it
//! first appears, and one line when it or its object is gone. Does not repeat a warning because of
//! a relist or an unrelated change.

use std::collections::BTreeMap;

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

    /// Takes all problems of one object, and logs those that are new or gone.
    pub fn update(&mut self, object: &ObjectId, problems: Vec<Problem>) {
        for problem in &self.news(object, &problems) {
            let kept = match problem.spoils {
                Spoils::Part => "",
                Spoils::Object => "; what was last known of the object stays in force",
            };
            tracing::warn!("{problem}{kept}");
        }
        for problem in &self.gone(object, &problems) {
            tracing::info!("resolved: {problem}");
        }
        if problems.is_empty() {
            if self.known.remove(object).is_some() {
                self.lasting.end(Area::Objects, &object.to_string());
            }
        } else {
            let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
            self.lasting.begin(Area::Objects, object.to_string(), texts.join("; "));
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

    fn news(&self, object: &ObjectId, problems: &[Problem]) -> Vec<Problem> {
        without(problems, self.of(object))
    }

    fn gone(&self, object: &ObjectId, problems: &[Problem]) -> Vec<Problem> {
        without(self.of(object), problems)
    }

    fn of(&self, object: &ObjectId) -> &[Problem] {
        self.known.get(object).map_or(&[], Vec::as_slice)
    }
}

fn without(these: &[Problem], those: &[Problem]) -> Vec<Problem> {
    these.iter().filter(|problem| !those.contains(problem)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::Reports;
    use crate::objects::problem::{Kind, ObjectId, Problem, Spoils};

    fn object(name: &str) -> ObjectId {
        ObjectId { kind: Kind::Service, namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn problem(field: &str) -> Problem {
        let (field, message, spoils) = (field.to_owned(), "is bad".to_owned(), Spoils::Part);
        Problem { object: object("web"), field, message, spoils }
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
    fn a_problem_that_is_gone_is_news_once() {
        let mut reports = Reports::default();
        assert_eq!(reports.gone(&object("web"), &[]), []);
        reports.update(&object("web"), vec![problem("a"), problem("b")]);
        assert_eq!(reports.gone(&object("web"), &[problem("b"), problem("c")]), [problem("a")]);
        reports.update(&object("web"), vec![problem("b")]);
        assert_eq!(reports.gone(&object("web"), &[]), [problem("b")]);
        reports.forget(&object("web"));
        assert_eq!(reports.gone(&object("web"), &[]), []);
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
