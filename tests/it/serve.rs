//! Tests all servers over real sockets of the loopback device.
//!
//! Takes tables of health checks, and states of the proxy. Returns what load balancers, probes and
//! scrapers get. Does not change a kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipvs_proxy::events::Sink;
use ipvs_proxy::serve::{HealthTable, Moment, ProxyHealth, ServiceHealth};
use proxier::model::{Family, PerFamily, ServiceName};
use proxier::plan::{HealthCheck, HealthCheckAddresses};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::apiserver::port::Kept;

mod answers;
mod clients;
mod inspect;
mod ports;
mod probes;
mod table;

/// Long enough for a busy machine; no test waits that long if all is well.
const LIMIT: Duration = Duration::from_secs(20);

const PERIOD: Duration = Duration::from_secs(30);

/// Servers that follow a table.
struct Serving {
    table: watch::Sender<HealthTable>,
    health: Arc<ProxyHealth>,
    task: JoinHandle<()>,
}

impl Serving {
    fn start() -> Self {
        Self::with(|health| Some(Arc::clone(health)))
    }

    /// Starts servers that judge the proxy by the health that `judged` returns.
    fn with(judged: impl FnOnce(&Arc<ProxyHealth>) -> Option<Arc<ProxyHealth>>) -> Self {
        let families = PerFamily { v4: true, v6: true };
        let health = Arc::new(ProxyHealth::new(&families, PERIOD));
        let (table, seen) = watch::channel(HealthTable::default());
        let servers = ServiceHealth::new("node1".into(), judged(&health), Sink::log());
        Self { table, health, task: tokio::spawn(servers.run(seen)) }
    }

    /// Sets the health checks, of Services in the namespace `shop`.
    fn show(&self, checks: &[(&str, HealthCheck)]) {
        let checks: BTreeMap<_, _> = checks
            .iter()
            .map(|(name, check)| (ServiceName::new("shop", *name), check.clone()))
            .collect();
        self.table.send_modify(|table| table.checks = Arc::new(checks));
    }

    fn listen_on(&self, addresses: &[&str]) {
        let these: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        self.table.send_modify(|table| {
            table.addresses = PerFamily::from_fn(|_| {
                HealthCheckAddresses::These(these.iter().copied().collect())
            });
        });
    }
}

/// Makes the proxy one that was well and then had something to do for two periods.
fn fall_behind(health: &ProxyHealth) {
    let now = Moment::now();
    let long_ago = Moment { steady: now.steady - 2 * PERIOD, ..now };
    Family::BOTH.iter().for_each(|family| health.updated(*family, long_ago));
    health.queued(long_ago);
}

/// Waits until a server listens at the port.
async fn listens(port: u16) {
    let listens = async {
        while Client::connect(v4(port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, listens).await.expect("it listens");
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn check(port: u16, v4: Option<usize>, v6: Option<usize>) -> HealthCheck {
    HealthCheck { port, local_endpoints: PerFamily { v4, v6 } }
}

/// Returns a port without listeners in either family. It is reserved until all tests are over.
fn free_port() -> u16 {
    static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());
    let kept = Kept::everywhere();
    let port = kept.address().port();
    KEPT.lock().unwrap().push(kept);
    port
}

fn v4(port: u16) -> SocketAddr {
    SocketAddr::new("127.0.0.1".parse().unwrap(), port)
}

fn v6(port: u16) -> SocketAddr {
    SocketAddr::new("::1".parse().unwrap(), port)
}

/// A connection on which requests are sent.
struct Client(TcpStream);

impl Client {
    async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        timeout(LIMIT, TcpStream::connect(address)).await.unwrap().map(Self)
    }

    /// Sends a request and reads an answer with its body.
    async fn ask(&mut self, request: &str) -> std::io::Result<String> {
        self.0.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let head = |text: &str| text.find("\r\n\r\n").map(|end| end + 4);
        loop {
            let text = String::from_utf8(answer.clone()).unwrap();
            if let Some(end) = head(&text) {
                let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                let length: usize = length.unwrap().parse().unwrap();
                if request.starts_with("HEAD") || text.len() == end + length {
                    return Ok(text);
                }
            }
            let mut bytes = [0; 4096];
            let read = timeout(LIMIT, self.0.read(&mut bytes)).await.expect("an answer")?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&bytes[..read]);
        }
    }

    /// Returns true if the server ends the connection within this time.
    async fn is_ended(&mut self, within: Duration) -> bool {
        let mut bytes = [0; 4096];
        let all = async {
            loop {
                match self.0.read(&mut bytes).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        timeout(within, all).await.is_ok()
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Returns the answer to a new client, or why there is none.
async fn get(address: SocketAddr) -> std::io::Result<String> {
    Client::connect(address).await?.ask(GET).await
}

/// Returns the status and the number of endpoints, or `refused`.
async fn brief(address: SocketAddr) -> String {
    let Ok(answer) = get(address).await else { return "refused".to_owned() };
    let status = answer.split(' ').nth(1).unwrap();
    let weight =
        answer.lines().find_map(|line| line.strip_prefix("X-Load-Balancing-Endpoint-Weight: "));
    format!("{status} {}", weight.unwrap())
}

/// Waits until a new client gets this answer.
async fn tells(address: SocketAddr, wanted: &str) {
    let told = async {
        while brief(address).await != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(LIMIT, told).await.is_err() {
        panic!("{address}: {} instead of {wanted}", brief(address).await);
    }
}
