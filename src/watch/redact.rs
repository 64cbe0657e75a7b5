//! What may be said of a credential plugin that does not do its work.
//!
//! In: an error of the client, and the program that a kubeconfig names. Out: the same error, but of a
//! program that failed its name and how it ended. Never: its output or its environment, where the
//! credentials are.

use std::error::Error;

use kube::client::AuthError;
use kube::config::AuthInfo;
use tower::BoxError;

/// The program that says who this proxy is, by its name.
#[derive(Clone, Debug)]
pub(super) struct Plugin(String);

impl Plugin {
    /// Of a user without any, a name that no error ever needs.
    pub(super) fn of(user: &AuthInfo) -> Self {
        let program = user.exec.as_ref().and_then(|exec| exec.command.clone());
        let provider = || user.auth_provider.as_ref().map(|provider| provider.name.clone());
        Self(program.or_else(provider).unwrap_or_default())
    }

    /// The error as it may be told.
    pub(super) fn redact(&self, error: BoxError) -> BoxError {
        let Some(told) = of_plugin(&*error).and_then(told) else { return error };
        format!("credential plugin {}: {told}", self.0).into()
    }
}

fn of_plugin<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a AuthError> {
    let mut link = Some(error);
    while let Some(error) = link {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        link = error.source();
    }
    None
}

/// `None` for errors that hold nothing of what a program has said.
fn told(error: &AuthError) -> Option<String> {
    match error {
        AuthError::AuthExecRun { out, .. } => Some(format!("it failed ({})", out.status)),
        AuthError::AuthExecParse(_) | AuthError::ParseTokenKey(_) => {
            Some("its answer is not understood".to_owned())
        }
        AuthError::AuthExecStart(error) => Some(format!("it cannot be started: {error}")),
        _ => None,
    }
}
