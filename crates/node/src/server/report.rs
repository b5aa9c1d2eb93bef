//! What a node says about itself.

use std::time::SystemTime;

use proxystore_wire::message::ReportBuilder;

use super::Shared;

/// What a node says about itself: names and numbers, bytes and seconds as their names say.
pub(super) fn entries(shared: &Shared) -> Vec<(&'static str, u64)> {
    let storage = shared.storage.statistics();
    let connections = shared.table.count();
    let since = SystemTime::now().duration_since(shared.since);
    let mut entries = vec![
        ("pid", u64::from(std::process::id())),
        ("uptime_s", since.map_or(0, |since| since.as_secs())),
        ("objects", storage.objects),
        ("bytes", storage.bytes),
        ("budget_bytes", storage.budget),
        ("memory_bytes", storage.memory),
        ("memory_peak_bytes", storage.memory_peak),
        ("reserved_bytes", storage.reserved),
        ("spilled_objects", storage.spilled_objects),
        ("spilled_bytes", storage.spilled_bytes),
        ("received_bytes", storage.bytes_in),
        ("sent_bytes", storage.bytes_out),
    ];
    entries.extend(storage.operations);
    entries.extend([
        ("hits", storage.hits),
        ("refused", storage.refused),
        ("connections", connections.present as u64),
        ("connections_unknown", connections.strangers as u64),
        ("connections_total", connections.total),
        ("connections_rejected", connections.rejected),
        ("requests_under_way", connections.under_way as u64),
        ("threads", shared.threads as u64),
    ]);
    entries
}

pub(super) fn of(shared: &Shared) -> ReportBuilder {
    let mut report = ReportBuilder::new();
    for (name, value) in entries(shared) {
        report.add(name, value);
    }
    report
}
