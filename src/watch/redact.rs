//! Removes secrets from the errors of credential plugins.
//!
//! Takes an error of the client, and the program that a kubeconfig names. Returns the error
//! unchanged, or, if the program failed, its name and how it ended. Does not return its output or
//! its environment, which may hold credentials.

use std::error::Error;

use kube::client::AuthError;
use kube::config::AuthInfo;
use tower::BoxError;

/// The name of the program that provides the credentials.
#[derive(Clone, Debug)]
pub(super) struct Plugin(String);

impl Plugin {
    /// Returns the user's plugin. The name is empty if there is none, as no error needs it then.
    pub(super) fn of(user: &AuthInfo) -> Self {
        let program = user.exec.as_ref().and_then(|exec| exec.command.clone());
        let provider = || user.auth_provider.as_ref().map(|provider| provider.name.clone());
        Self(program.or_else(provider).unwrap_or_default())
    }

    /// Returns the error without secrets.
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

/// Describes an error of a plugin. `None` for errors that hold no output of the program.
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
