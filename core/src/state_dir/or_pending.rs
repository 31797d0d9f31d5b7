//! Branches of a `select!` that exist only at times.

/// The output of the future. Pending for ever if there is none.
pub(super) async fn or_pending<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
