//! Reads a kubeconfig as client-go does, where the library differs from it.
//!
//! Takes the path of a file. Returns the client's configuration for the file's current context, or
//! an error. Does not read the environment. Does not invent a cluster where the context names one
//! that does not exist.

use std::path::Path;

use kube::Config;
use kube::config::{
    AuthInfo, Cluster, ExecInteractiveMode, KubeConfigOptions, Kubeconfig, KubeconfigError,
};

use crate::one_line::one_line;

/// Reads the file's current context. Also returns a note for the operator, if there is one.
pub(super) async fn read(path: &Path) -> Result<(Config, Option<String>), String> {
    let mut note = None;
    let mut file = Kubeconfig::read_from(path).map_err(|error| cause(&error))?;
    let empty = path.parent().map(|folder| folder.join("").display().to_string());
    let empty = empty.unwrap_or_default();
    if let Some((cluster, user)) = named(&file)? {
        let cluster = place(&mut file.clusters, |entry| entry.name == cluster)
            .and_then(|entry| entry.cluster.as_mut())
            .ok_or_else(|| format!("cluster {cluster:?} does not exist"))?;
        prepare_cluster(cluster, &empty)?;
        if let Some(user) = user {
            match place(&mut file.auth_infos, |entry| entry.name == user) {
                Some(user) => prepare_user(user.auth_info.get_or_insert_default(), &empty),
                // Client-go does not report this either.
                None => {
                    let text =
                        format!("auth info {user:?} does not exist: no request says who asks");
                    note = Some(text);
                }
            }
        }
    }
    let read = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let mut config = read.map_err(|error| cause(&error))?;
    config.proxy_url = None;
    if let Some(told) = config.auth_info.exec.as_mut().and_then(|exec| exec.cluster.as_mut()) {
        told.proxy_url = None;
    }
    Ok((config, note))
}

/// Returns the URL of the server in the file's current context; empty if the cluster has none.
pub(super) fn server(path: &Path) -> Result<String, String> {
    let mut file = Kubeconfig::read_from(path).map_err(|error| cause(&error))?;
    let (cluster, _) = named(&file)?.ok_or("there is no current context")?;
    let cluster = place(&mut file.clusters, |entry| entry.name == cluster)
        .and_then(|entry| entry.cluster.take())
        .ok_or_else(|| format!("cluster {cluster:?} does not exist"))?;
    Ok(cluster.server.unwrap_or_default())
}

fn place<T>(entries: &mut [T], is_it: impl Fn(&T) -> bool) -> Option<&mut T> {
    entries.iter_mut().find(|entry| is_it(entry))
}

/// Returns the names of the cluster and the user in the current context. `None` if there is no such
/// context: the library reports that.
fn named(file: &Kubeconfig) -> Result<Option<(String, Option<String>)>, String> {
    let Some(current) = &file.current_context else { return Ok(None) };
    let entry = file.contexts.iter().find(|entry| entry.name == *current);
    let Some(context) = entry.and_then(|entry| entry.context.clone()) else { return Ok(None) };
    if context.cluster.is_empty() {
        return Err(format!("context {current:?} names no cluster"));
    }
    Ok(Some((context.cluster, context.user.filter(|user| !user.is_empty()))))
}

/// Replaces empty texts by `None`, as Go does not tell them apart. `empty` is the folder that the
/// library has put before an empty path.
fn forget_empty<'a>(texts: impl IntoIterator<Item = &'a mut Option<String>>, empty: &str) {
    for text in texts {
        *text = text.take().filter(|text| !text.is_empty() && text != empty);
    }
}

fn prepare_cluster(cluster: &mut Cluster, empty: &str) -> Result<(), String> {
    let texts = [
        &mut cluster.certificate_authority,
        &mut cluster.certificate_authority_data,
        &mut cluster.proxy_url,
        &mut cluster.tls_server_name,
    ];
    forget_empty(texts, empty);
    // Line ends inside are ignored, as Go decodes it.
    if let Some(data) = &mut cluster.certificate_authority_data {
        data.retain(|character| !matches!(character, '\r' | '\n'));
    }
    if cluster.proxy_url.is_some() {
        return Err("proxy-url is not supported".to_owned());
    }
    // Without a proxy URL the library takes one from the environment, and fails if that is not a
    // URL.
    cluster.proxy_url = Some("http://none".to_owned());
    Ok(())
}

fn prepare_user(user: &mut AuthInfo, empty: &str) {
    let texts = [
        &mut user.token_file,
        &mut user.client_certificate,
        &mut user.client_certificate_data,
        &mut user.client_key,
    ];
    forget_empty(texts, empty);
    // The secret's own type opens only to a crate that nothing else here needs.
    let opened = serde_json::to_value(&*user).unwrap_or_default();
    if opened.get("client-key-data").and_then(|data| data.as_str()) == Some("") {
        user.client_key_data = None;
    }
    if let Some(exec) = &mut user.exec {
        // In other modes the plugin's standard error goes to the log unchanged. There is no
        // terminal either.
        exec.interactive_mode = Some(ExecInteractiveMode::Never);
    }
}

/// Returns the error's text. A parser quotes what it could not read, and that may be a misplaced
/// token.
fn cause(error: &KubeconfigError) -> String {
    let text = one_line(error);
    match error {
        KubeconfigError::Parse(_) => without_quoted(&text),
        _ => text,
    }
}

fn without_quoted(text: &str) -> String {
    let parts = text.split('"').enumerate();
    let shown = parts.map(|(number, part)| if number % 2 == 0 { part } else { "\"…\"" });
    shown.collect()
}
