//! One request, from its head to its answer.

use super::apps::{Apps, clock_faults};
use super::config::{Config, ConsoleTicket};
use super::connections::Port;
use super::console;
use super::head;
use super::metrics::Metrics;
use super::unpack::unpacked;
use crate::wire::{Admitted, Answer, Code};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Version};
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::{Instant as Deadline, timeout_at};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) type Reply = Response<Full<Bytes>>;

/// Everything that answers.
pub(super) struct Site {
    pub(super) apps: Arc<Apps>,
    metrics: Metrics,
    body_bytes_max: usize,
    request_time: Duration,
    observes_apart: bool,
    console: bool,
    console_ticket: Option<ConsoleTicket>,
    stopping: AtomicBool,
    request_ids: RequestIds,
}

/// Numbers that tell requests apart, also those of an earlier process.
struct RequestIds {
    start: u64,
    next: AtomicU64,
}

impl Site {
    pub(super) fn new(config: &Config, apps: Apps) -> Site {
        Site {
            apps: Arc::new(apps),
            metrics: Metrics::new(),
            body_bytes_max: config.limits.body_bytes,
            request_time: Duration::from_secs_f64(config.limits.request_seconds),
            observes_apart: config.observe.is_some(),
            console: config.console,
            console_ticket: config.console_ticket.clone(),
            stopping: AtomicBool::new(false),
            request_ids: RequestIds {
                start: RandomState::new().hash_one(0),
                next: AtomicU64::new(0),
            },
        }
    }

    /// Counts a connection for as long as the guard lives.
    pub(super) fn connection_opened(self: &Arc<Self>) -> impl Drop + use<> {
        self.metrics.connections.inc();
        OpenConnection(self.clone())
    }

    /// Counts a connection that was refused.
    pub(super) fn connection_refused(&self) {
        self.metrics.connections_refused.inc();
    }

    /// Notes when the certificate in use expires, in Unix seconds.
    pub(super) fn certificate_expires(&self, at: i64) {
        self.metrics.certificate_expires(at);
    }

    /// Notes that a certificate or keys were read again, and whether they are in use.
    pub(super) fn reloaded(&self, what: &'static str, is_used: bool) {
        self.metrics.reloaded(what, is_used);
    }

    /// From now on it says that it is not ready.
    pub(super) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits until everything committed is on disk.
    pub(super) fn close(&self) {
        for (app, graph) in &self.apps.graphs {
            if let Err(error) = graph.sync() {
                tracing::error!(app, %error, "not everything is on disk");
            }
        }
    }

    /// Answers a request, whatever it is.
    pub(super) async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
        port: Port,
    ) -> Reply {
        let started = Instant::now();
        let request_id = self.request_ids.next();
        let is_http_1 = request.version() < Version::HTTP_2;
        let (mut reply, connection_goes_on) = match head::check(&request) {
            Ok(authority) => {
                let from = From { request_id: &request_id, peer, port, started };
                self.route(request, authority.as_ref(), &from).await
            }
            Err(fault) => {
                tracing::debug!(request_id, %peer, fault = fault.text, "refused");
                (fault.reply(), false)
            }
        };
        let headers = reply.headers_mut();
        if is_http_1 && !connection_goes_on {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        let request_id = HeaderValue::try_from(request_id).expect("hexadecimal digits");
        headers.insert(REQUEST_ID, request_id);
        reply
    }

    /// Answers a request with a valid head. Also returns whether the connection can go on.
    async fn route(
        self: &Arc<Self>,
        request: Request<Incoming>,
        authority: Option<&Authority>,
        from: &From<'_>,
    ) -> (Reply, bool) {
        let path = request.uri().path().to_owned();
        // A body that is not read would stand before the next request.
        let has_no_body = request.body().is_end_stream();
        let reply = match path.as_str() {
            "/healthz" | "/readyz" | "/metrics" if self.observes(from.port) => {
                self.observe(path).await
            }
            // A probe of the wrong port must not find everything in order.
            "/healthz" | "/readyz" | "/metrics" => not_here(),
            _ if from.port == Port::Observe => not_here(),
            "/" if self.console && [Method::GET, Method::HEAD].contains(request.method()) => {
                console::redirect()
            }
            path if self.console && (path == "/console" || path.starts_with("/console/")) => {
                self.console(&request, authority, from.peer).await
            }
            _ => return self.answer_command(request, &path, from).await,
        };
        (reply, has_no_body)
    }

    async fn answer_command(
        &self,
        request: Request<Incoming>,
        path: &str,
        from: &From<'_>,
    ) -> (Reply, bool) {
        let given = self.command(request, from.peer, from.started).await;
        let took = from.started.elapsed();
        self.metrics.answered(&given.answer, took);
        note(from.request_id, path, from.peer, &given.answer, took);
        let is_malformed = matches!(given.body, BodyEnd::Malformed);
        let status = if is_malformed { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        let mut reply = reply(status, JSON, given.answer.body);
        allow_other_origins(reply.headers_mut());
        (reply, matches!(given.body, BodyEnd::Read))
    }

    fn observes(&self, port: Port) -> bool {
        !self.observes_apart || port == Port::Observe
    }

    /// The figures of a graph wait for the one who writes, who may wait for room on the disk.
    async fn observe(self: &Arc<Self>, path: String) -> Reply {
        let site = self.clone();
        let observed = tokio::task::spawn_blocking(move || match path.as_str() {
            "/metrics" => reply(StatusCode::OK, OPEN_METRICS, site.metrics.text(&site.apps)),
            "/healthz" => reply(StatusCode::OK, TEXT, "alive\n"),
            _ => site.ready(),
        });
        observed.await.unwrap_or_else(|_| failed())
    }

    fn ready(&self) -> Reply {
        let mut reasons: Vec<String> = self
            .apps
            .complaints()
            .into_iter()
            .map(|(app, complaint)| format!("app {app}: {complaint}\n"))
            .collect();
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push("stopping\n".to_owned());
        }
        if reasons.is_empty() {
            // A clock that is behind keeps nobody from anything, but somebody should see to it.
            let mut lines = vec!["ready\n".to_owned()];
            for (app, fault) in clock_faults(&self.apps.graphs) {
                lines.push(format!("note: app {app}: {fault}\n"));
            }
            for (app, moved) in self.apps.moved() {
                lines.push(format!("note: app {app}: {moved}\n"));
            }
            return reply(StatusCode::OK, TEXT, lines.concat());
        }
        reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, reasons.concat())
    }

    async fn console(
        &self,
        request: &Request<Incoming>,
        authority: Option<&Authority>,
        peer: SocketAddr,
    ) -> Reply {
        let peer = peer.ip();
        match request.uri().path() {
            "/console/dev.json" => {
                let ticket = self.console_ticket.as_ref();
                console::ticket(ticket, peer, authority, request.headers())
            }
            "/console/follower_counts" => {
                let query = request.uri().query().unwrap_or("").to_owned();
                let apps = self.apps.clone();
                let count = move || console::follower_counts(&apps, &query, peer);
                let counted = tokio::task::spawn_blocking(count);
                counted.await.map_or_else(|_| failed(), |body| reply(StatusCode::OK, JSON, body))
            }
            path => console::page(path),
        }
    }

    /// Carries a command out, or says why not.
    async fn command(&self, request: Request<Incoming>, peer: SocketAddr, began: Instant) -> Given {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let deadline = Deadline::from_std(began + self.request_time);
        let admitted = match self.admit(&head, peer) {
            Ok(admitted) => admitted,
            Err(answer) => {
                // Some clients send head and body apart. What has come of the body when the
                // answer goes out would stand before the next request.
                let passed = timeout_at(deadline, self.pass_over(body)).await;
                return Given { answer, body: passed.unwrap_or(BodyEnd::Unread) };
            }
        };
        let body = match timeout_at(deadline, self.read(body)).await {
            Ok(Ok(body)) => body,
            Ok(Err((end, info))) => {
                let answer = Answer::refused(path, Code::BadHttp, &info);
                return Given { answer, body: end };
            }
            Err(_) => {
                let info = "the body did not arrive in time";
                let answer = Answer::refused(path, Code::RequestTimeout, info);
                return Given { answer, body: BodyEnd::Unread };
            }
        };
        let body = match unpacked(&head.headers, body, self.body_bytes_max) {
            Ok(body) => body,
            Err(info) => {
                let answer = Answer::refused(path, Code::BadHttp, &info);
                return Given { answer, body: BodyEnd::Read };
            }
        };
        let answer = self.carry_out(admitted, body, path, deadline).await;
        Given { answer, body: BodyEnd::Read }
    }

    fn admit(&self, head: &Parts, peer: SocketAddr) -> Result<Admitted, Answer> {
        let path = head.uri.path();
        // One published client asks for accounts with GET and a body.
        let is_known_get = head.method == Method::GET && path.ends_with("/account_check");
        if head.method != Method::POST && !is_known_get {
            let info = "HTTP parse Error: the method is POST";
            return Err(Answer::refused(path, Code::BadHttp, info));
        }
        self.apps.admit(path, head.uri.query().unwrap_or(""), peer.ip())
    }

    async fn carry_out(
        &self,
        admitted: Admitted,
        body: Bytes,
        path: &str,
        deadline: Deadline,
    ) -> Answer {
        if !admitted.may_wait() {
            return admitted.respond(&body);
        }
        let mut task = tokio::task::spawn_blocking(move || admitted.respond(&body));
        match timeout_at(deadline, &mut task).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::failed(path, &error.to_string()),
            Err(_) => {
                // What has not begun will not; what waits for the disk goes on.
                task.abort();
                Answer::timed_out(path)
            }
        }
    }

    /// Lets a body go by without keeping it.
    async fn pass_over(&self, body: Incoming) -> BodyEnd {
        let mut body = Limited::new(body, self.body_bytes_max);
        while let Some(frame) = body.frame().await {
            if let Err(error) = frame {
                return BodyEnd::of(&*error);
            }
        }
        BodyEnd::Read
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, (BodyEnd, String)> {
        let too_long =
            || (BodyEnd::Unread, format!("the body has more than {} bytes", self.body_bytes_max));
        if body.size_hint().lower() > self.body_bytes_max as u64 {
            return Err(too_long());
        }
        match Limited::new(body, self.body_bytes_max).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_long()),
            Err(error) => Err((BodyEnd::of(&*error), format!("the body cannot be read: {error}"))),
        }
    }
}

/// Where a request came from, and when.
struct From<'a> {
    request_id: &'a str,
    peer: SocketAddr,
    port: Port,
    started: Instant,
}

/// How far the body of a request was read.
enum BodyEnd {
    /// To its end: the connection can go on.
    Read,
    /// Not to its end.
    Unread,
    /// To where its framing is invalid.
    Malformed,
}

impl BodyEnd {
    fn of(error: &(dyn Error + 'static)) -> BodyEnd {
        let mut causes = std::iter::successors(Some(error), |error| (*error).source());
        let malformed = [io::ErrorKind::InvalidInput, io::ErrorKind::InvalidData];
        let is_malformed = causes.any(|cause| {
            cause.downcast_ref().is_some_and(|cause: &io::Error| malformed.contains(&cause.kind()))
        });
        if is_malformed { BodyEnd::Malformed } else { BodyEnd::Unread }
    }
}

/// An answer, and what became of the body.
struct Given {
    answer: Answer,
    body: BodyEnd,
}

struct OpenConnection(Arc<Site>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

impl RequestIds {
    fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}", self.start.wrapping_add(number))
    }
}

/// Logs an answer: what failed inside as an error, the rest for those who look closely. The query
/// has the ticket in it and is left out.
fn note(request_id: &str, path: &str, peer: SocketAddr, answer: &Answer, took: Duration) {
    let (code, microseconds) = (answer.code.number(), took.as_micros() as u64);
    if let Some(failure) = &answer.failure {
        tracing::error!(request_id, path, %peer, code, microseconds, failure, "failed");
    } else {
        tracing::debug!(request_id, path, %peer, code, microseconds, "answered");
    }
}

fn not_here() -> Reply {
    reply(StatusCode::NOT_FOUND, TEXT, "not here\n")
}

/// A panic was reported where it happened.
fn failed() -> Reply {
    reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "it failed\n")
}

pub(super) fn reply(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// The headers that the original sends with every answer.
fn allow_other_origins(headers: &mut HeaderMap) {
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "X-Requested-With"),
        (ACCESS_CONTROL_ALLOW_METHODS, "POST"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
