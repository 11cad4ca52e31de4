//! Sockets: accepting, TLS, how long a connection may do nothing, and the end of all of them.

use super::config::{Config, ConfigError, Limits};
use super::requests::Site;
use super::stream::Stream;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

/// The longest head of a request. A ticket has at most 2 KiB.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;
/// Requests under way in one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// How long to wait after an accept that failed, for lack of descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The interval at which a condition that lasts is logged again.
const NOTICE_INTERVAL: Duration = Duration::from_mins(1);

/// Open files that are no connections of clients: the runtime, the listeners, certificates.
const DESCRIPTORS_OF_PROCESS: u64 = 64;
/// Open files of an app: images, log segments and position files, also during a checkpoint.
const DESCRIPTORS_OF_APP: u64 = 64;
/// Open files of a node of a cluster, which has several graphs.
const DESCRIPTORS_OF_NODE: u64 = 512;
/// Connections to the port for metrics that clients cannot take.
const DESCRIPTORS_OF_OBSERVE: u64 = 16;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// Commands and console, and metrics unless they have a port of their own.
    Clients,
    /// Metrics and health.
    Observe,
}

struct Listener {
    socket: TcpListener,
    port: Port,
    tls: Option<TlsAcceptor>,
}

/// The bound sockets.
pub(super) struct Listeners(Vec<Listener>);

impl Listeners {
    /// Binds what the configuration names.
    pub(super) async fn bind(
        config: &Config,
        tls: Option<TlsAcceptor>,
    ) -> Result<Listeners, ConfigError> {
        let mut listeners = Vec::new();
        let wanted = [
            (config.http, Port::Clients, None),
            (config.https.as_ref().map(|https| https.listen), Port::Clients, tls),
            (config.observe, Port::Observe, None),
        ];
        for (address, port, tls) in wanted {
            let Some(address) = address else { continue };
            let socket = TcpListener::bind(address).await.map_err(|error| {
                ConfigError::new(format!("cannot listen on {address}: {error}"))
            })?;
            listeners.push(Listener { socket, port, tls });
        }
        Ok(Listeners(listeners))
    }

    /// Where they are, with the ports that the system chose.
    pub(super) fn addresses(&self) -> Result<super::Addresses, ConfigError> {
        let mut addresses = super::Addresses::default();
        for listener in &self.0 {
            let address = listener.socket.local_addr();
            let address = address.map_err(|error| ConfigError::new(error.to_string()))?;
            let place = match (listener.port, &listener.tls) {
                (Port::Observe, _) => &mut addresses.observe,
                (Port::Clients, None) => &mut addresses.http,
                (Port::Clients, Some(_)) => &mut addresses.https,
            };
            *place = Some(address);
        }
        Ok(addresses)
    }
}

/// How many connections the limit of open files leaves room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    clients: usize,
    observe: usize,
}

impl Room {
    /// Keeps a reserve of `limit` open files for everything else: without it, a flood of
    /// connections would make writes to the graphs fail.
    pub(super) fn of(limit: u64, config: &Config) -> Room {
        let apps = DESCRIPTORS_OF_APP.saturating_mul(config.apps.len() as u64);
        let node = if config.cluster.is_some() { DESCRIPTORS_OF_NODE } else { 0 };
        let wanted = (DESCRIPTORS_OF_PROCESS + node).saturating_add(apps);
        // Where there are too few for all, half of them are for connections.
        let left = limit - wanted.min(limit / 2);
        let observe = DESCRIPTORS_OF_OBSERVE.min(left / 4);
        let at_most = |count: u64| {
            usize::try_from(count)
                .map_or(Semaphore::MAX_PERMITS, |count| count.min(Semaphore::MAX_PERMITS))
        };
        Room { clients: at_most(left - observe), observe: at_most(observe) }
    }
}

/// Serves all listeners until `stop`, then lets the connections finish what is under way.
///
/// # Errors
///
/// A listener ended before `stop`.
pub(super) async fn serve(
    listeners: Listeners,
    site: &Arc<Site>,
    limits: &Limits,
    room: Room,
    stop: impl Future<Output = ()>,
) -> Result<(), ConfigError> {
    let (stopping, stop_of_each) = watch::channel(());
    let server = Arc::new(Server {
        site: site.clone(),
        stop: stop_of_each,
        connections_max: limits.connections,
        descriptors_of_clients: Arc::new(Semaphore::new(room.clients)),
        descriptors_of_observe: Arc::new(Semaphore::new(room.observe)),
        idle: Duration::from_secs_f64(limits.idle_seconds),
    });
    let mut accepting = JoinSet::new();
    for listener in listeners.0 {
        accepting.spawn(server.clone().accept(listener));
    }
    // A server whose port answers nobody must not look as if it ran.
    let failed = tokio::select! {
        () = stop => None,
        ended = accepting.join_next() => ended.and_then(Result::err),
    };
    site.stopping();
    // The sockets are closed once the tasks are gone.
    accepting.shutdown().await;
    drop(server);
    stopping.send_replace(());
    // Each connection holds a receiver: when all are gone, so are the connections.
    let finished = timeout(Duration::from_secs_f64(limits.shutdown_seconds), stopping.closed());
    if finished.await.is_err() {
        tracing::warn!("connections were cut: their requests took longer than the grace period");
    }
    match failed {
        Some(error) => Err(ConfigError::new(format!("a listener failed: {error}"))),
        None => Ok(()),
    }
}

struct Server {
    site: Arc<Site>,
    stop: watch::Receiver<()>,
    connections_max: usize,
    descriptors_of_clients: Arc<Semaphore>,
    descriptors_of_observe: Arc<Semaphore>,
    idle: Duration,
}

impl Server {
    async fn accept(self: Arc<Self>, listener: Listener) {
        // Each port has room of its own, so that clients keep nobody from the metrics.
        let room = Arc::new(Semaphore::new(self.connections_max));
        let descriptors = match listener.port {
            Port::Clients => self.descriptors_of_clients.clone(),
            Port::Observe => self.descriptors_of_observe.clone(),
        };
        let (mut full, mut failing) = (Notice::default(), Notice::default());
        loop {
            let room = room.clone().acquire_owned().await;
            let room = room.expect("nobody closes the semaphore");
            match listener.socket.accept().await {
                Ok((stream, peer)) => {
                    let Ok(descriptor) = descriptors.clone().try_acquire_owned() else {
                        self.site.connection_refused();
                        if let Some(refused) = full.due() {
                            tracing::warn!(
                                refused,
                                "connections are refused: the limit of open files is reached, \
                                 less those kept for the graphs; raise it with `ulimit -n`"
                            );
                        }
                        continue;
                    };
                    let (server, tls, port) = (self.clone(), listener.tls.clone(), listener.port);
                    tokio::spawn(async move {
                        // Goes last: who waits for the end of all connections finds nothing held
                        // by one, and the graphs can be closed in good order.
                        let _last = server.stop.clone();
                        server.connection(stream, peer, tls, port).await;
                        drop((room, descriptor));
                    });
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if let Some(count) = failing.due() {
                        tracing::error!(%error, count, "cannot accept connections");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<TlsAcceptor>,
        port: Port,
    ) {
        // Small answers go out at once.
        let _ = stream.set_nodelay(true);
        let _open = self.site.connection_opened();
        match tls {
            None => self.http(stream, peer, port).await,
            Some(tls) => {
                let mut stop = self.stop.clone();
                tokio::select! {
                    stream = timeout(self.idle, tls.accept(stream)) => match stream {
                        Ok(Ok(stream)) => self.http(stream, peer, port).await,
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
                        Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
                    },
                    // Nothing is under way yet.
                    _ = stop.changed() => {}
                }
            }
        }
    }

    /// Serves one connection until its client ends it or leaves it idle.
    async fn http<S>(self: Arc<Self>, stream: S, peer: SocketAddr, port: Port)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .max_buf_size(HEAD_BYTES_MAX)
            // Who closes its own half waits for the answer all the same.
            .half_close(true);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32);
        let activity = Arc::new(Activity::new());
        let (stream, lingers) = Stream::new(stream);
        let (site, idle, mut stop) = (self.site.clone(), self.idle, self.stop.clone());
        let service = service_fn(|request| {
            let (site, under_way) = (site.clone(), activity.begin());
            async move {
                let response = site.answer(request, peer, port).await;
                drop(under_way);
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        drop(self);
        let mut is_stopping = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "connection");
                    }
                    return;
                }
                () = activity.idle_for(idle) => {
                    tracing::debug!(%peer, "idle");
                    return;
                }
                _ = stop.changed(), if !is_stopping => {
                    is_stopping = true;
                    if activity.is_idle() {
                        lingers.store(false, Ordering::Relaxed);
                    }
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// A client that was gone before it was accepted is no trouble of the server.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Says when a condition that occurs again and again is logged.
#[derive(Default)]
struct Notice {
    last: Option<Instant>,
    count: u64,
}

impl Notice {
    /// Counts an occurrence. Returns how many there were since the last time that it is due: the
    /// first time, and then at most once in [`NOTICE_INTERVAL`].
    fn due(&mut self) -> Option<u64> {
        self.count += 1;
        let now = Instant::now();
        if self.last.is_some_and(|last| now - last < NOTICE_INTERVAL) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

/// How many requests of a connection are under way, and since when there are none.
struct Activity(watch::Sender<(u32, Instant)>);

struct UnderWay(Arc<Activity>);

impl Activity {
    fn new() -> Activity {
        Activity(watch::Sender::new((0, Instant::now())))
    }

    fn begin(self: &Arc<Self>) -> UnderWay {
        self.0.send_modify(|(count, _)| *count += 1);
        UnderWay(self.clone())
    }

    fn is_idle(&self) -> bool {
        self.0.borrow().0 == 0
    }

    /// Ends once no request has been under way for so long. A head or an answer that moves slowly
    /// does not count as one.
    async fn idle_for(&self, idle: Duration) {
        loop {
            let (count, since) = *self.0.borrow();
            if count == 0 && since.elapsed() >= idle {
                return;
            }
            // While a request is under way, look again later: it has a time limit of its own.
            let from = if count == 0 { since } else { Instant::now() };
            sleep_until(from + idle).await;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| *state = (state.0 - 1, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lasting_condition_is_logged_once_a_minute_with_its_count() {
        let mut notice = Notice::default();
        let due: Vec<u64> = (0..573).filter_map(|_| notice.due()).collect();
        assert_eq!(due, [1]);
        tokio::time::advance(NOTICE_INTERVAL).await;
        assert_eq!(notice.due(), Some(573));
        assert_eq!(notice.due(), None);
    }
}
