//! What many ask for at once, done together: they share what costs much, as a flush to the disk does.
//!
//! Nobody waits for others to come: what is asked for by the tasks that are ready to run is done together, and what comes meanwhile is done
//! together next.

use std::fmt;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait; who comes then waits for a place.
const WAITING: usize = 1024;

/// What is done for several jobs together.
pub trait Work: Send + 'static {
    /// What is asked for.
    type Job: Send;
    /// What comes of it.
    type Answer: Send;

    /// Does the jobs in their order. It gives an answer for each, also in their order.
    fn work(&mut self, jobs: Vec<Self::Job>) -> impl Future<Output = Vec<Self::Answer>> + Send;
}

/// The way to a [`Work`]. It ends when the last clone of this is gone and all jobs are done.
pub struct Together<W: Work>(mpsc::Sender<(W::Job, oneshot::Sender<W::Answer>)>);

impl<W: Work> Clone for Together<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Work> fmt::Debug for Together<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Together").finish_non_exhaustive()
    }
}

impl<W: Work> Together<W> {
    /// Begins; `most` is how many jobs are done together at most. Must be called within a Tokio runtime.
    pub fn new(mut work: W, most: usize) -> Self {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let mut asked: Vec<(W::Job, oneshot::Sender<W::Answer>)> = Vec::new();
            while receiver.recv_many(&mut asked, most).await > 0 {
                // Who is about to ask does so first.
                tokio::task::yield_now().await;
                while asked.len() < most
                    && let Ok(job) = receiver.try_recv()
                {
                    asked.push(job);
                }
                let (jobs, callers): (Vec<_>, Vec<_>) = asked.drain(..).unzip();
                // A fault costs those who met it an answer, and nobody after them.
                let Ok(answers) = AssertUnwindSafe(work.work(jobs)).catch_unwind().await else {
                    tracing::error!(
                        jobs = callers.len(),
                        "what was done together for {} panicked",
                        callers.len()
                    );
                    continue;
                };
                for (caller, answer) in callers.into_iter().zip(answers) {
                    // A caller that went away has its job done all the same.
                    let _ = caller.send(answer);
                }
            }
        });
        Self(sender)
    }

    /// Has a job done, also when the caller goes away meanwhile. None when it failed by a fault of the program.
    pub async fn ask(&self, job: W::Job) -> Option<W::Answer> {
        let (sender, answer) = oneshot::channel();
        self.0.send((job, sender)).await.ok()?;
        answer.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    /// Adds one to each number, once there is a permit; tells how many it did together.
    struct Adder {
        permits: Arc<Semaphore>,
        groups: mpsc::UnboundedSender<usize>,
    }

    impl Work for Adder {
        type Job = u32;
        type Answer = u32;

        async fn work(&mut self, jobs: Vec<u32>) -> Vec<u32> {
            assert!(!jobs.contains(&u32::MAX), "a fault");
            self.permits.acquire().await.unwrap().forget();
            self.groups.send(jobs.len()).unwrap();
            jobs.into_iter().map(|number| number + 1).collect()
        }
    }

    #[tokio::test]
    async fn what_comes_meanwhile_is_done_together_and_in_order() {
        let (groups, mut done) = mpsc::unbounded_channel();
        let together = Together::new(Adder { permits: Arc::new(Semaphore::new(2)), groups }, 4);
        let answers = futures::future::join_all((0..7).map(|number| together.ask(number))).await;
        assert_eq!(answers, (1..8).map(Some).collect::<Vec<_>>());
        assert_eq!((done.recv().await, done.recv().await), (Some(4), Some(3)));
    }

    #[tokio::test]
    async fn a_fault_is_of_those_who_met_it_only() {
        let (groups, _done) = mpsc::unbounded_channel();
        let together = Together::new(Adder { permits: Arc::new(Semaphore::new(1)), groups }, 4);
        assert_eq!(tokio::join!(together.ask(1), together.ask(u32::MAX)), (None, None));
        assert_eq!(together.ask(1).await, Some(2));
    }

    #[tokio::test]
    async fn a_job_whose_caller_went_away_is_done() {
        let permits = Arc::new(Semaphore::new(0));
        let (groups, mut done) = mpsc::unbounded_channel();
        let together = Together::new(Adder { permits: Arc::clone(&permits), groups }, 4);
        assert!(together.ask(1).now_or_never().is_none());
        drop(together);
        permits.add_permits(1);
        assert_eq!(done.recv().await, Some(1));
        assert_eq!(done.recv().await, None, "it ends");
    }
}
