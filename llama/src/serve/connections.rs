//! Connections, from the first to the end of the last.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use super::worker::Phase;
use super::{routes, State};

/// Bytes of a connection that are read ahead or wait to be written.
const BUFFER: usize = 1 << 16;

/// For readers to take the end of an answer that was cut.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves until `until` is there and what runs then has ended or was cut.
pub(super) async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    until: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let open = Arc::new(Semaphore::new(state.options.connections as usize));
    let (graceful, router) = (GracefulShutdown::new(), routes::router(state.clone()));
    let mut until = pin!(until);
    loop {
        let (connection, place) = tokio::select! {
            accepted = accept(&listener, &open) => accepted,
            () = &mut until => break,
        };
        spawn(connection, place, &state, &router, &graceful);
    }
    drop(listener);
    state.phases.set(Phase::Stopping);
    let mut ended = pin!(graceful.shutdown());
    if timeout(state.options.grace, &mut ended).await.is_err() {
        state.phases.set(Phase::Cut);
        // Who does not listen then is not waited for.
        let _ = timeout(LAST_WORDS, ended).await;
    }
    Ok(())
}

/// The next connection, as soon as there is a place for it.
async fn accept(
    listener: &tokio::net::TcpListener,
    open: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let Ok(place) = open.clone().acquire_owned().await else {
            // The semaphore is never closed.
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((connection, _)) => return (connection, place),
            // The client is gone already, or the process has too many files: others may close theirs.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

fn spawn(
    connection: TcpStream,
    place: OwnedSemaphorePermit,
    state: &Arc<State>,
    router: &Router,
    graceful: &GracefulShutdown,
) {
    // Tokens are sent when they are there; where that cannot be set they come later.
    let _ = connection.set_nodelay(true);
    let mut connection = TimeoutStream::new(connection);
    connection.set_write_timeout(Some(state.options.write_timeout));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(state.options.read_timeout)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(Box::pin(connection)), TowerToHyperService::new(router.clone()));
    let served = graceful.watch(served);
    let connections = state.metrics.connections.clone();
    connections.inc();
    tokio::spawn(async move {
        // Whatever goes wrong ends this connection alone.
        let _ = served.await;
        connections.dec();
        drop(place);
    });
}
