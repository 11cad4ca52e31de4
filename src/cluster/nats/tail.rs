//! The reader of the log.

use super::reader::Reader;
use super::{Shared, version};
use crate::cluster::log::{Entry, Tail};
use crate::error::{Error, ErrorKind, Result};
use async_nats::jetstream::consumer::DeliverPolicy;
use std::sync::Arc;

/// A reader of the log in a [`Nats`](super::Nats) cluster.
pub struct NatsTail {
    shared: Arc<Shared>,
    reader: Reader,
    next: u64,
}

impl NatsTail {
    /// A server asked to begin at an entry that was purged begins at the first one that is left,
    /// and says nothing. So the beginning is looked at before, and again when the server has
    /// settled on it.
    pub(super) async fn begin(shared: &Arc<Shared>, from: u64) -> Result<NatsTail> {
        version::check_info(&shared.options, &shared.client.server_info())?;
        check_place(shared, from).await?;
        let deliver = DeliverPolicy::ByStartSequence { start_sequence: from };
        let reader = Reader::begin(shared, &shared.stream, None, deliver).await?;
        check_place(shared, from).await?;
        Ok(NatsTail { shared: Arc::clone(shared), reader, next: from })
    }

    /// Entries are missing: were they purged, or did they not arrive?
    async fn gap(&self, got: u64) -> Error {
        let extent = match self.shared.extent().await {
            Ok(extent) => extent,
            Err(error) => return error,
        };
        if extent.first > self.next {
            return position_lost(&self.shared, extent.first, self.next);
        }
        let reason = format!("entry {got} came instead of {}", self.next);
        self.shared.link().unavailable(&format!("read stream {}", self.shared.stream), reason)
    }
}

fn position_lost(shared: &Shared, first: u64, from: u64) -> Error {
    let message = format!(
        "stream {} begins at entry {first}, and entry {from} was to be read: begin again with a \
         newer snapshot",
        shared.stream
    );
    Error::new(ErrorKind::PositionLost, message)
}

async fn check_place(shared: &Shared, from: u64) -> Result<()> {
    let extent = shared.extent().await?;
    if from < extent.first {
        return Err(position_lost(shared, extent.first, from));
    }
    if from > extent.last + 1 {
        let reason = format!(
            "it ends with entry {}, and entry {from} was to be read, so the server that answers \
             lags, or the log has lost entries that were confirmed",
            extent.last
        );
        let what = format!("read stream {}", shared.stream);
        return Err(shared.link().unavailable(&what, reason));
    }
    Ok(())
}

impl Tail for NatsTail {
    async fn next(&mut self) -> Result<Entry> {
        loop {
            let received = self.reader.next().await?;
            if received.sequence > self.next {
                return Err(self.gap(received.sequence).await);
            }
            // A server that lags begins at its own end, so with entries from before.
            if received.sequence == self.next {
                self.next += 1;
                let (sequence, time_millis) = (received.sequence, received.time_millis);
                return Ok(Entry { sequence, time_millis, bytes: received.bytes });
            }
        }
    }
}
