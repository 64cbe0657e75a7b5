//! Which version this is.
//!
//! In: the name the program was started by. Out: what `--version` prints. Never: a question to
//! anybody; everything is known when the program is built.

/// The version of kube-proxy whose behaviour is the baseline.
pub const KUBE_PROXY: &str = "v1.36.2";
/// The version of this program.
pub const OWN: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// One line. Under kube-proxy's name it begins as kube-proxy's own, which scripts take apart.
pub fn line(program: &str) -> String {
    match program {
        "kube-proxy" => format!("Kubernetes {KUBE_PROXY} (ipvs-proxy {OWN})\n"),
        _ => format!("ipvs-proxy {OWN} (as kube-proxy {KUBE_PROXY})\n"),
    }
}

/// The same in the form of `--version=raw`, with the fields of kube-proxy's that are known here.
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

/// The architecture's name in Go.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
