//! Work for several threads whose results come back in the order of the jobs.
//!
//! * At most as many jobs are under way as was agreed, so what they hold in memory is bounded.
//! * The results are the same, and in the same order, however many threads there are.
//! * Dropping waits for the threads; what they were at has then ended.
//! * Where the system gives fewer threads, those there are do all of the work, and where it gives
//!   none the thread does it that hands the jobs over.

use crate::locks::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// A job, and where its result goes.
type Order<J, R> = (J, SyncSender<R>);

/// What is done to each job.
type Work<J, R> = Arc<dyn Fn(J) -> R + Send + Sync>;

/// Threads that all do the same to one job after the other.
pub(crate) struct Workers<J, R> {
    /// `None` while dropping, which tells the threads to end.
    orders: Option<SyncSender<Order<J, R>>>,
    /// The results to come, oldest job first.
    results: VecDeque<Receiver<R>>,
    under_way_max: usize,
    work: Work<J, R>,
    threads: Vec<JoinHandle<()>>,
}

/// How many threads can run at the same time on this machine.
pub(crate) fn processor_count() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl<J: Send + 'static, R: Send + 'static> Workers<J, R> {
    /// Starts up to `thread_count` threads. `under_way_max` is how many jobs may have been taken
    /// whose results were not given back yet.
    pub(crate) fn start(
        name: &str,
        thread_count: usize,
        under_way_max: usize,
        work: impl Fn(J) -> R + Send + Sync + 'static,
    ) -> Workers<J, R> {
        Workers::start_with(thread_count, under_way_max, Arc::new(work), |run| {
            thread::Builder::new().name(name.to_owned()).spawn(run)
        })
    }

    fn start_with(
        thread_count: usize,
        under_way_max: usize,
        work: Work<J, R>,
        spawn: impl Fn(Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>,
    ) -> Workers<J, R> {
        assert!(thread_count > 0 && under_way_max > 0, "nobody would ever do the work");
        let (orders, queue) = sync_channel::<Order<J, R>>(under_way_max);
        let queue = Arc::new(Mutex::new(queue));
        let start = |_| {
            let (queue, work) = (queue.clone(), work.clone());
            spawn(Box::new(move || serve(&queue, work.as_ref()))).ok()
        };
        let threads = (0..thread_count).map_while(start).collect();
        let (orders, results) = (Some(orders), VecDeque::new());
        Workers { orders, results, under_way_max, work, threads }
    }

    /// Hands a job over. Where too many are under way already, waits for the oldest one first, and
    /// gives its result.
    pub(crate) fn push(&mut self, job: J) -> Option<R> {
        let oldest = if self.results.len() < self.under_way_max { None } else { self.next() };
        let (sender, result) = sync_channel(1);
        if self.threads.is_empty() {
            sender.send((self.work)(job)).expect("there is room, and the other end is here");
        } else {
            let orders = self.orders.as_ref().expect("only dropping takes the sender");
            orders.send((job, sender)).expect("the threads end after their sender");
        }
        self.results.push_back(result);
        oldest
    }

    /// Waits for the oldest job that is under way, and gives its result.
    pub(crate) fn next(&mut self) -> Option<R> {
        let result = self.results.pop_front()?;
        Some(result.recv().expect("the work does not panic"))
    }
}

/// One thread: takes orders until there will be no more.
fn serve<J, R>(queue: &Mutex<Receiver<Order<J, R>>>, work: &(dyn Fn(J) -> R + Send + Sync)) {
    loop {
        let order = queue.lock().recv();
        let Ok((job, sender)) = order else { return };
        // Who dropped the workers meanwhile does not want the result any more.
        let _ = sender.send(work(job));
    }
}

impl<J, R> Drop for Workers<J, R> {
    fn drop(&mut self) {
        self.orders = None;
        for thread in self.threads.drain(..) {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        for thread_count in [1, 2, 7] {
            let slow_for_some = |job: u64| {
                thread::sleep(Duration::from_micros(job * 7919 % 500));
                job * 2
            };
            let mut workers = Workers::start("test", thread_count, 5, slow_for_some);
            let mut results: Vec<u64> = (0..200).filter_map(|job| workers.push(job)).collect();
            assert_eq!(results.len(), 195, "five stay under way");
            results.extend(std::iter::from_fn(|| workers.next()));
            assert_eq!(results, (0..200).map(|job| job * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_more_jobs_are_under_way_than_agreed() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counter = begun.clone();
        let count = move |()| counter.fetch_add(1, Ordering::SeqCst);
        let mut workers = Workers::start("test", 3, 4, count);
        for taken in 1..100 {
            let _ = workers.push(());
            assert!(begun.load(Ordering::SeqCst) <= taken);
            assert!(workers.results.len() <= 4);
        }
        drop(workers);
        assert_eq!(begun.load(Ordering::SeqCst), 99, "dropping waits for what was taken");
    }

    #[test]
    fn all_work_is_done_where_the_system_gives_fewer_threads_or_none() {
        for given in [0, 1, 2] {
            let left = AtomicUsize::new(given);
            let spawn = |run: Box<dyn FnOnce() + Send>| {
                let is_left = left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
                if is_left.is_err() {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                thread::Builder::new().spawn(run)
            };
            let mut workers = Workers::start_with(4, 3, Arc::new(|job: u64| job + 1), spawn);
            assert_eq!(workers.threads.len(), given);
            let mut results: Vec<u64> = (0..20).filter_map(|job| workers.push(job)).collect();
            results.extend(std::iter::from_fn(|| workers.next()));
            assert_eq!(results, (1..=20).collect::<Vec<_>>());
        }
    }
}
