//! The version of this program.
//!
//! Takes the name that the program was started with. Returns the output of `--version`. Everything is known at build
//! time.

/// The version of kube-proxy that this program follows.
pub const KUBE_PROXY: &str = "v1.36.2";
/// The version of this program.
pub const OWN: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// Returns the version in one line. If the program is named kube-proxy, the line begins as kube-proxy's does, because
/// scripts parse it.
pub fn line(program: &str) -> String {
    match program {
        "kube-proxy" => format!("Kubernetes {KUBE_PROXY} (ipvs-proxy {OWN})\n"),
        _ => format!("ipvs-proxy {OWN} (as kube-proxy {KUBE_PROXY})\n"),
    }
}

/// Returns the version in the form of `--version=raw`, with those of kube-proxy's fields that are known here.
pub fn raw() -> String {
    let mut parts = KUBE_PROXY.trim_start_matches('v').split('.');
    let mut part = || parts.next().unwrap_or_default();
    let (major, minor) = (part(), part());
    format!(
        "version.Info{{Major:\"{major}\", Minor:\"{minor}\", GitVersion:\"{KUBE_PROXY}\", \
         Compiler:\"rustc\", Platform:\"linux/{}\", ProxyVersion:\"ipvs-proxy {OWN}\"}}\n",
        architecture()
    )
}

/// Returns Go's name of the architecture.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
