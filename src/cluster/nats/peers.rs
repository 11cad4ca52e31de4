//! How nodes ask each other: requests on a subject for each node, kept by nobody.

use super::Nats;
use super::options::check_name;
use crate::cluster::log::{Inbox, Peers, Reply};
use crate::error::{Error, ErrorKind, Result};
use async_nats::{Client, Message, Request, RequestErrorKind, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use std::time::Duration;

/// How long an answer is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

impl Nats {
    fn node_subject(&self, node: &str) -> Result<String> {
        check_name("the name of a node", node)?;
        Ok(format!("{}.node.{node}", self.0.options.cluster))
    }
}

impl Peers for Nats {
    type Inbox = NatsInbox;

    async fn ask(&self, node: &str, request: Bytes) -> Result<Bytes> {
        let subject = self.node_subject(node)?;
        let request = Request::new().payload(request).timeout(Some(ANSWER_TIMEOUT));
        let answer = self.0.client.send_request(subject, request).await;
        answer.map(|answer| answer.payload).map_err(|error| {
            let kind = error.kind();
            let server = self.0.link().server();
            if kind == RequestErrorKind::MaxPayloadExceeded {
                let message = format!("cannot ask node {node}: {error}; ask for less");
                return Error::new(ErrorKind::InvalidArgument, message);
            }
            let reason = match kind {
                RequestErrorKind::NoResponders => "it is not there".to_owned(),
                RequestErrorKind::TimedOut => "it does not answer".to_owned(),
                _ => error.to_string(),
            };
            let message = format!(
                "cannot ask node {node} through {server}: {reason}; try again, and see that the \
                 node is up"
            );
            Error::new(ErrorKind::Unavailable, message)
        })
    }

    async fn listen(&self, node: &str) -> Result<NatsInbox> {
        let subject = self.node_subject(node)?;
        let client = self.0.client.clone();
        let what = format!("listen at {subject}");
        let subscribed = client.subscribe(subject).await;
        let subscriber = subscribed.map_err(|error| self.0.link().unavailable(&what, error))?;
        let flushed = client.flush().await;
        flushed.map_err(|error| self.0.link().unavailable(&what, error))?;
        Ok(NatsInbox { client, subscriber })
    }
}

/// The requests to a node.
pub struct NatsInbox {
    client: Client,
    subscriber: Subscriber,
}

impl Inbox for NatsInbox {
    type Reply = NatsReply;

    async fn next(&mut self) -> Option<(Bytes, NatsReply)> {
        loop {
            let Message { payload, reply, .. } = self.subscriber.next().await?;
            // What names nobody to answer to is not a question.
            if let Some(subject) = reply {
                return Some((payload, NatsReply { client: self.client.clone(), subject }));
            }
        }
    }
}

/// Answers a request.
pub struct NatsReply {
    client: Client,
    subject: Subject,
}

impl Reply for NatsReply {
    async fn send(self, answer: Bytes) {
        // Whoever asked may be gone, and asks again if not.
        let _ = self.client.publish(self.subject, answer).await;
    }
}
