//! What is counted and measured, as Prometheus reads it, by the crate `prometheus-client`.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{exponential_buckets, Histogram};
use prometheus_client::registry::Registry;

use crate::engine::{Counts, Engine};

/// A label: its name and its value.
type Label = (&'static str, String);

/// All metrics. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    registry: Arc<Registry>,
    requests: Family<[Label; 2], Counter>,
    /// Requests whose readers had gone before the answer ended.
    pub(super) cancelled: Counter,
    /// Seconds from the request to its first token, and to its last; measured.
    pub(super) first_token: Histogram,
    pub(super) answer: Histogram,
    pub(super) connections: Gauge,
    running: Gauge,
    waiting: Gauge,
    pages: Gauge,
    free_pages: Gauge,
    /// Of the engine: steps, rows, tokens, shared, evictions.
    engine: [Counter; 5],
    told: Arc<Mutex<Counts>>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("fastattention");
        // From 1 ms to 4 minutes.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 19));
        let mut metrics = Self {
            registry: Arc::default(),
            requests: Family::default(),
            cancelled: Counter::default(),
            first_token: seconds(),
            answer: seconds(),
            connections: Gauge::default(),
            running: Gauge::default(),
            waiting: Gauge::default(),
            pages: Gauge::default(),
            free_pages: Gauge::default(),
            engine: Default::default(),
            told: Arc::default(),
        };
        registry.register("requests", "Requests that were answered", metrics.requests.clone());
        registry.register("cancelled", "Requests that their clients gave up", metrics.cancelled.clone());
        for (name, help, histogram) in [
            ("first_token_seconds", "Measured, from a request to its first token", &metrics.first_token),
            ("answer_seconds", "Measured, from a request to its last token", &metrics.answer),
        ] {
            registry.register(name, help, histogram.clone());
        }
        for (name, help, gauge) in [
            ("connections", "Open connections", &metrics.connections),
            ("sequences_running", "Sequences in the batch", &metrics.running),
            ("sequences_waiting", "Sequences that wait for room in the batch", &metrics.waiting),
            ("pages", "Pages of the cache", &metrics.pages),
            ("pages_free", "Pages of the cache that no sequence has", &metrics.free_pages),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for ((name, help), counter) in ENGINE.into_iter().zip(&metrics.engine) {
            registry.register(name, help, counter.clone());
        }
        metrics.registry = Arc::new(registry);
        metrics
    }

    /// Counts an answer.
    pub(super) fn answered(&self, path: &str, status: StatusCode) {
        let labels = [("path", path.to_owned()), ("status", status.as_str().to_owned())];
        self.requests.get_or_create(&labels).inc();
    }

    /// Takes over what the engine has counted.
    pub(super) fn tell(&self, engine: &Engine) {
        let gauge = |gauge: &Gauge, count: usize| gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        let ((running, waiting), (free, pages)) = (engine.sequences(), engine.free_pages());
        gauge(&self.running, running);
        gauge(&self.waiting, waiting);
        gauge(&self.pages, pages);
        gauge(&self.free_pages, free);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, new) = (list(&told), list(&engine.counts()));
        for ((counter, old), new) in self.engine.iter().zip(old).zip(new) {
            counter.inc_by(new - old);
        }
        *told = engine.counts();
    }

    /// All of them in the text format of Prometheus.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Strings can always be written to.
        let _ = prometheus_text::encode(&mut text, &self.registry);
        text
    }
}

/// Names and help of what the engine counts.
const ENGINE: [(&str, &str); 5] = [
    ("steps", "Steps of the engine"),
    ("computed_tokens", "Tokens that were computed, those of prompts included"),
    ("generated_tokens", "Tokens of answers"),
    ("shared_tokens", "Tokens of prompts whose keys were in the cache already"),
    ("evictions", "Sequences that lost their pages to others for a while"),
];

fn list(counts: &Counts) -> [u64; 5] {
    [counts.steps, counts.rows, counts.tokens, counts.shared, counts.evictions]
}
