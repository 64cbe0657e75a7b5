//! Defaults of settings that the configuration leaves unset (spec 12.2).
//!
//! Each value has its unit. Does not hold the defaults of flags, which differ on purpose.

/// `bindAddress`.
pub(super) const BIND_ADDRESS: &str = "0.0.0.0";
/// The port of `healthzBindAddress`.
pub(super) const HEALTHZ_PORT: u16 = 10_256;
/// The port of `metricsBindAddress`.
pub(super) const METRICS_PORT: u16 = 10_249;
/// `configSyncPeriod`, in seconds.
pub(super) const CONFIG_SYNC_PERIOD: i64 = 15 * 60;
/// `oomScoreAdj`.
pub(super) const OOM_SCORE_ADJ: i32 = -999;
/// `clientConnection.burst`, in requests.
pub(super) const BURST: i32 = 10;
/// `clientConnection.qps`, in requests a second.
pub(super) const QPS: f32 = 5.0;
/// `conntrack.maxPerCore`, in connections.
pub(super) const CONNTRACK_MAX_PER_CORE: i32 = 32_768;
/// `conntrack.min`, in connections.
pub(super) const CONNTRACK_MIN: i32 = 131_072;
/// `conntrack.tcpEstablishedTimeout`, in seconds.
pub(super) const TCP_ESTABLISHED: i64 = 24 * 3600;
/// `conntrack.tcpCloseWaitTimeout`, in seconds.
pub(super) const TCP_CLOSE_WAIT: i64 = 3600;
/// `ipvs.syncPeriod`, in seconds.
pub(super) const SYNC_PERIOD: i64 = 30;
/// `iptables.masqueradeBit`, and that of nftables mode.
pub(super) const MASQUERADE_BIT: i32 = 14;
/// `logging.format`.
pub(super) const LOG_FORMAT: &str = "text";
/// `logging.flushFrequency`, in seconds.
pub(super) const LOG_FLUSH: i64 = 5;
