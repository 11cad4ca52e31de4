//! Sockets: accepting, TLS, how long a connection may do nothing, and the end of all of them.

use super::config::{Config, ConfigError, Limits};
use super::requests::Site;
use super::tls;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

/// The longest head of a request. A ticket has at most 2 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Requests under way in one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
/// How long to wait after an accept that failed, for lack of descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    pub(super) async fn bind(config: &Config) -> Result<Listeners, ConfigError> {
        let mut listeners = Vec::new();
        let tls = config.https.as_ref().map(tls::acceptor).transpose()?;
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

/// Serves all listeners until `stop`, then lets the connections finish what is under way.
pub(super) async fn serve(
    listeners: Listeners,
    site: &Arc<Site>,
    limits: &Limits,
    stop: impl Future<Output = ()>,
) {
    let (stopping, stop_of_each) = watch::channel(());
    let server = Arc::new(Server {
        site: site.clone(),
        stop: stop_of_each,
        connections_max: limits.connections,
        idle: Duration::from_secs_f64(limits.idle_seconds),
    });
    let accepting: Vec<_> = listeners
        .0
        .into_iter()
        .map(|listener| tokio::spawn(server.clone().accept(listener)))
        .collect();
    stop.await;
    site.stopping();
    for task in accepting {
        task.abort();
        // Its socket is closed once it is gone.
        let _ = task.await;
    }
    drop(server);
    stopping.send_replace(());
    // Each connection holds a receiver: when all are gone, so are the connections.
    let finished = timeout(Duration::from_secs_f64(limits.shutdown_seconds), stopping.closed());
    if finished.await.is_err() {
        tracing::warn!("connections were cut: their requests took longer than the grace period");
    }
}

struct Server {
    site: Arc<Site>,
    stop: watch::Receiver<()>,
    connections_max: usize,
    idle: Duration,
}

impl Server {
    async fn accept(self: Arc<Self>, listener: Listener) {
        // Each port has room of its own, so that clients keep nobody from the metrics.
        let room = Arc::new(Semaphore::new(self.connections_max));
        loop {
            let room = room.clone().acquire_owned().await;
            let room = room.expect("nobody closes the semaphore");
            match listener.socket.accept().await {
                Ok((stream, peer)) => {
                    let (server, tls, port) = (self.clone(), listener.tls.clone(), listener.port);
                    tokio::spawn(async move {
                        // Goes last: who waits for the end of all connections finds nothing held
                        // by one, and the graphs can be closed in good order.
                        let _last = server.stop.clone();
                        server.connection(stream, peer, tls, port).await;
                        drop(room);
                    });
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections");
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
            .half_close(true)
            // Answers to requests sent in one go leave in one go.
            .pipeline_flush(true);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32);
        let activity = Arc::new(Activity::new());
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
