//! What `top` shows, as lines: those that fit on a screen, or all of them on a page.

use inspect::live::{Document, Endpoint, Link, Path, PathState, Peer};
use perf::{report::Unit, table::Style as Output, units};
use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize as _},
    text::{Line, Span, Text},
    widgets::{Sparkline, Widget as _},
};

use super::history::{Change, History, Track};

/// Which endpoint and which of its peers are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    pub endpoint: usize,
    pub peer: usize,
}

impl Choice {
    /// Goes back to the first after the last endpoint, and stays at the last peer.
    pub(super) fn fit(&mut self, document: Option<&Document>) {
        let endpoints = document.map_or(0, |document| document.endpoints.len());
        self.endpoint = self.endpoint.checked_rem(endpoints).unwrap_or(0);
        let endpoint = document.and_then(|document| document.endpoints.get(self.endpoint));
        let peers = endpoint.map_or(0, |endpoint| endpoint.peers.len());
        self.peer = self.peer.min(peers.saturating_sub(1));
    }
}

/// Peers shown at a time on a screen.
const PEERS_SHOWN: usize = 4;
/// Columns of the figures to the left of the charts.
const FIGURES: u16 = 38;

/// Draws one endpoint on a screen.
pub(super) fn draw(
    history: &History,
    name: &str,
    choice: Choice,
    colour: bool,
    area: Rect,
    buffer: &mut Buffer,
) {
    let paint = Paint { colour };
    let endpoint = history.latest().and_then(|document| document.endpoints.get(choice.endpoint));
    let (Some(document), Some(endpoint)) = (history.latest(), endpoint) else {
        Line::from(format!("{name} has published no endpoint yet; q ends")).render(area, buffer);
        return;
    };
    let change = history.change(endpoint);
    let first = choice.peer.saturating_sub(PEERS_SHOWN - 1);
    let shown = endpoint.peers.len().min(first + PEERS_SHOWN);
    let peers = peer_lines(&endpoint.peers[first..shown], Some(choice.peer - first), paint);
    let [head, charts, counts, list, paths] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(5),
        Constraint::Length(3),
        Constraint::Length(u16::try_from(peers.len()).unwrap_or(u16::MAX).saturating_add(1)),
        Constraint::Min(0),
    ])
    .areas(area);
    title(document, endpoint, name, choice.endpoint, paint).render(head, buffer);
    draw_traffic(change, endpoint, history.track(endpoint), paint, charts, buffer);
    Text::from_iter(count_lines(change, endpoint, paint)).render(counts, buffer);
    Text::from(peers).render(list, buffer);
    if let Some(peer) = endpoint.peers.get(choice.peer) {
        Text::from(way_lines(peer, usize::from(area.width), paint)).render(paths, buffer);
    }
}

/// Everything, as text for a pipe.
pub(super) fn page(history: &History, name: &str, style: Output) -> String {
    let paint = Paint { colour: false };
    let mut lines = Vec::new();
    let Some(document) = history.latest() else { return String::new() };
    for (index, endpoint) in document.endpoints.iter().enumerate() {
        let change = history.change(endpoint);
        if index > 0 {
            lines.push(Line::default());
        }
        lines.push(title(document, endpoint, name, index, paint));
        lines.extend(traffic_lines(change, endpoint));
        lines.extend(count_lines(change, endpoint, paint));
        lines.extend(peer_lines(&endpoint.peers, None, paint));
        for peer in &endpoint.peers {
            lines.extend(way_lines(peer, usize::from(style.width), paint));
        }
    }
    if document.endpoints.is_empty() {
        lines.push(Line::from(format!("{name} has published no endpoint yet")));
    }
    let text = lines.iter().map(|line| line.to_string().trim_end().to_owned() + "\n");
    text.collect()
}

/// Colours, where there may be any.
#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn style(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    /// Worth a look if there are any.
    fn alarm(self, text: String, count: u64) -> Span<'static> {
        let style = if count > 0 { self.style(Color::Yellow) } else { Style::new() };
        Span::styled(text, style)
    }
}

fn title(
    document: &Document,
    endpoint: &Endpoint,
    name: &str,
    index: usize,
    paint: Paint,
) -> Line<'static> {
    let mut spans = vec![Span::from(format!("{} ({name})", document.program)).bold()];
    if document.endpoints.len() > 1 {
        spans.push(Span::from(format!("  {} of {}", index + 1, document.endpoints.len())));
    }
    spans.push(Span::from(format!(
        "  {} {}  up {}",
        endpoint.kind,
        endpoint.address,
        units::figure(endpoint.uptime_seconds, Unit::Seconds)
    )));
    // Figures are as old as the last progress in which something happened.
    if endpoint.age_seconds >= 1.0 {
        let age = units::figure(endpoint.age_seconds, Unit::Seconds);
        spans.push(Span::styled(format!("  idle {age}"), paint.style(Color::Yellow)));
    }
    Line::from(spans)
}

fn traffic_lines(change: Change<'_>, endpoint: &Endpoint) -> [Line<'static>; 2] {
    ["tx", "rx"].map(|way| {
        let [rate, packets] = traffic(change, way);
        Line::from(format!("{way}  {rate:>10} {packets:>10}  total {}", total(endpoint, way)))
    })
}

fn traffic(change: Change<'_>, way: &str) -> [String; 2] {
    let bytes = change.rate(&format!("{way}_bytes"));
    let packets = change.rate(&format!("{way}_packets"));
    [
        bytes.map_or("-".to_owned(), |rate| units::figure(rate, Unit::BytesPerSecond)),
        packets.map_or("-".to_owned(), |rate| units::figure(rate, Unit::PerSecond)),
    ]
}

fn total(endpoint: &Endpoint, way: &str) -> String {
    amount(endpoint.device.get(&format!("{way}_bytes")).copied().unwrap_or(0))
}

fn draw_traffic(
    change: Change<'_>,
    endpoint: &Endpoint,
    track: Option<&Track>,
    paint: Paint,
    area: Rect,
    buffer: &mut Buffer,
) {
    let rows = Layout::vertical([Constraint::Length(2); 2]).areas::<2>(area);
    let rates = [track.map(|track| &track.tx), track.map(|track| &track.rx)];
    for (((way, colour), row), rates) in
        [("tx", Color::Green), ("rx", Color::Cyan)].into_iter().zip(rows).zip(rates)
    {
        let [figures, chart] =
            Layout::horizontal([Constraint::Length(FIGURES), Constraint::Min(0)]).areas(row);
        let [rate, packets] = traffic(change, way);
        let lines = vec![
            Line::from(format!("{way}  {rate:>10} {packets:>10}")),
            Line::from(format!("    {:>10} in all", total(endpoint, way))),
        ];
        Text::from(lines).render(figures, buffer);
        let Some(rates) = rates else { continue };
        let skipped = rates.len().saturating_sub(usize::from(chart.width));
        let seen: Vec<u64> = rates.iter().skip(skipped).copied().collect();
        Sparkline::default().data(&seen).style(paint.style(colour)).render(chart, buffer);
    }
}

fn count_lines(change: Change<'_>, endpoint: &Endpoint, paint: Paint) -> Vec<Line<'static>> {
    let transport = |name: &str| endpoint.transport.get(name).copied().unwrap_or(0);
    let again = transport("retrans_pkts");
    let share = share(again, transport("tx_pkts"));
    let rate = change.transport_rate("retrans_pkts").filter(|rate| *rate > 0.0);
    let rate =
        rate.map_or(String::new(), |rate| format!(", {}", units::figure(rate, Unit::PerSecond)));
    let drops = endpoint.device.get("rx_drops").copied().unwrap_or(0);
    let named = |name: &str, count: u64| paint.alarm(format!("  {name} {count}"), count);
    let queues = &endpoint.queues;
    let mut lines = vec![
        Line::from(vec![
            paint.alarm(format!("retransmitted {again} ({share}{rate})"), again),
            named("timeouts", transport("retrans_timeout_events")),
            named("quarantines", transport("path_quarantines")),
            named("rx drops", drops),
            named("malformed", transport("rx_malformed")),
        ]),
        Line::from(format!(
            "sends {}  receives {}  completions {}  stored {}  in flight {}",
            queues.sends,
            queues.receives,
            queues.completions,
            amount(queues.stored_bytes),
            amount(endpoint.in_flight_bytes())
        )),
    ];
    lines.extend(shared_line(change, endpoint));
    lines
}

/// What goes through shared memory, where any link was made.
fn shared_line(change: Change<'_>, endpoint: &Endpoint) -> Option<Line<'static>> {
    let count = |name: &str| endpoint.shared_memory.get(name).copied().unwrap_or(0);
    if count("links") == 0 {
        return None;
    }
    let way = |way: &str| {
        let rate = change.shared_rate(&format!("{way}_bytes"));
        let rate = rate.map_or("-".to_owned(), |rate| units::figure(rate, Unit::BytesPerSecond));
        format!("{way} {rate} total {}", amount(count(&format!("{way}_bytes"))))
    };
    Some(Line::from(format!("shared memory  {}  {}", way("tx"), way("rx"))))
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0%".to_owned();
    }
    percent(part as f64 / whole as f64)
}

fn percent(share: f64) -> String {
    if share == 0.0 { "0%".to_owned() } else { format!("{:.2}%", share * 100.0) }
}

/// A heading and a line each; `chosen` is marked.
fn peer_lines(peers: &[Peer], chosen: Option<usize>, paint: Paint) -> Vec<Line<'static>> {
    if peers.is_empty() {
        return vec![Line::from("no peer is active")];
    }
    let heading = format!(
        "{:<28} {:>9} {:>10} {:>10} {:>10}  paths",
        "peer", "rtt", "in flight", "window", "queued"
    );
    let mut lines = vec![Line::from(heading).bold()];
    for (index, peer) in peers.iter().enumerate() {
        let good = peer.paths.iter().filter(|path| path.state == PathState::Good).count();
        let line = format!(
            "{:<28} {:>9} {:>10} {:>10} {:>10}  ",
            peer.address.to_string(),
            rtt(peer.rtt_seconds),
            amount(peer.in_flight_bytes),
            amount(peer.window_bytes),
            amount(peer.queued_bytes),
        );
        let bad = (peer.paths.len() - good) as u64;
        let paths = match peer.link {
            Some(_) => Span::from("memory"),
            None => paint.alarm(format!("{good}/{}", peer.paths.len()), bad),
        };
        let line = Line::from(vec![Span::from(line), paths]);
        lines.push(if chosen == Some(index) { line.reversed() } else { line });
    }
    lines
}

/// The paths of a peer, or its link.
fn way_lines(peer: &Peer, width: usize, paint: Paint) -> Vec<Line<'static>> {
    match &peer.link {
        Some(link) => link_lines(peer, link, paint),
        None => path_lines(peer, width, paint),
    }
}

fn link_lines(peer: &Peer, link: &Link, paint: Paint) -> Vec<Line<'static>> {
    let count = |name: &str| link.counters.get(name).copied().unwrap_or(0);
    let way = |way: &str| {
        let [records, bytes] = ["records", "bytes"].map(|what| count(&format!("{way}_{what}")));
        format!("{way} {records} records ({})", amount(bytes))
    };
    let refused = |way: &str, words: &str| {
        let refused = count(&format!("{way}_refused"));
        paint.alarm(format!("{words} {refused}"), refused)
    };
    let sleeps = if link.peer_sleeps { "asleep" } else { "awake" };
    vec![
        Line::from(format!("shared memory with {}", peer.address)).bold(),
        Line::from(format!("  {}  {}", way("tx"), way("rx"))),
        Line::from(format!(
            "  ring {} of {} records, {} of {}; peer {sleeps}, woken {} times",
            link.waiting_records,
            link.most_records,
            amount(link.waiting_bytes),
            amount(link.most_bytes),
            count("wakes"),
        )),
        Line::from(vec![
            refused("tx", "  refused there"),
            refused("rx", ", here"),
            paint.alarm(format!(", waiting {}", link.refused_records), link.refused_records),
        ]),
    ]
}

/// Columns of a path, and of the gap to the next beside it.
const PATH_WIDTH: usize = 38;

/// The paths of a peer, as many beside each other as fit, numbered downwards.
fn path_lines(peer: &Peer, width: usize, paint: Paint) -> Vec<Line<'static>> {
    if peer.paths.is_empty() {
        return Vec::new();
    }
    let abreast = (width / (PATH_WIDTH + 2)).clamp(1, 4).min(peer.paths.len());
    let rows = peer.paths.len().div_ceil(abreast);
    let heading = format!("{:>4} {:>9} {:>7} {:>10} state", "path", "rtt", "loss", "in flight");
    let mut lines = vec![Line::from(format!("{heading:<PATH_WIDTH$}  ").repeat(abreast)).bold()];
    for row in 0..rows {
        let beside = peer.paths.iter().skip(row).step_by(rows);
        lines.push(Line::from_iter(beside.map(|path| path_span(path, paint))));
    }
    lines
}

fn path_span(path: &Path, paint: Paint) -> Span<'static> {
    let state = match path.state {
        PathState::Good => "good",
        PathState::Quarantined => "out",
    };
    let text = format!(
        "{:>4} {:>9} {:>7} {:>10} {state}",
        path.entropy,
        rtt(path.rtt_seconds),
        percent(path.loss),
        amount(path.in_flight_bytes)
    );
    let style = match path.state {
        PathState::Good => Style::new(),
        PathState::Quarantined => paint.style(Color::Red),
    };
    Span::styled(format!("{text:<PATH_WIDTH$}  "), style)
}

fn rtt(seconds: Option<f64>) -> String {
    seconds.map_or("-".to_owned(), |seconds| units::figure(seconds, Unit::Seconds))
}

/// Bytes in the largest unit that leaves one or more.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn amount(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::{super::history::sample, *};

    fn screen(history: &History, choice: Choice, width: u16, height: u16) -> (Vec<String>, Buffer) {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        draw(history, "pid 4711", choice, true, area, &mut buffer);
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        ((0..height).map(|y| row(y).trim_end().to_owned()).collect(), buffer)
    }

    #[test]
    fn everything_of_sixteen_paths_fits_80_by_24() {
        let (lines, _) = screen(&sample::history(9), Choice::default(), 80, 24);
        let text = lines.join("\n");
        for wanted in [
            "train (pid 4711)  rdm 10.0.0.1:7000  up 9.00 s",
            "tx   1.00 Gb/s   13.9 k/s",
            "retransmitted 11 (1.10%)  timeouts 2  quarantines 1  rx drops 5  malformed 0",
            "sends 12  receives 34  completions 5  stored 4.00 KiB  in flight 1.00 MiB",
            "10.0.0.2:7000                  40.0 µs   1.00 MiB   1.00 MiB   64.0 KiB  15/16",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
        for path in 0..16 {
            assert!(text.contains(&format!("{path:>4}   42.0 µs ")), "{path} is not in\n{text}");
        }
        assert!(text.contains("50.00%   8.79 KiB out"), "{text}");
        assert!(lines.iter().any(|line| line.contains('█')), "no chart in\n{text}");
    }

    #[test]
    fn without_colour_nothing_is_coloured() {
        let history = sample::history(3);
        let area = Rect::new(0, 0, 80, 24);
        let colours = |colour| {
            let mut buffer = Buffer::empty(area);
            draw(&history, "x", Choice::default(), colour, area, &mut buffer);
            buffer.content.iter().filter(|cell| cell.fg != Color::Reset).count()
        };
        assert_eq!(colours(false), 0);
        assert!(colours(true) > 0);
    }

    #[test]
    fn small_and_empty_screens_do_not_panic() {
        for (width, height) in [(0, 0), (1, 1), (20, 5), (300, 100)] {
            screen(&sample::history(3), Choice::default(), width, height);
            screen(&History::default(), Choice::default(), width, height);
        }
    }

    #[test]
    fn page_has_all_peers_and_paths_and_no_rates_at_first() {
        let text = page(&sample::history(1), "pid 4711", Output::default());
        assert!(text.contains("tx           -          -  total 119 MiB"), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("good")).count(), 8);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn peer_of_this_host_is_shown_with_its_link() {
        let mut document = sample::document(1);
        let endpoint = &mut document.endpoints[0];
        let counters = [("links", 1), ("tx_records", 70), ("tx_bytes", 4096), ("rx_refused", 2)];
        let counters = counters.map(|(name, value)| (name.to_owned(), value));
        endpoint.shared_memory = counters.clone().into();
        let peer = &mut endpoint.peers[0];
        peer.paths.clear();
        peer.link = Some(Link {
            counters: counters.into(),
            waiting_records: 3,
            most_records: 512,
            waiting_bytes: 1024,
            most_bytes: 512 << 10,
            refused_records: 1,
            peer_sleeps: true,
        });
        let mut history = History::default();
        history.push(document);
        let text = page(&history, "pid 4711", Output::default());
        let (lines, _) = screen(&history, Choice::default(), 80, 24);
        for shown in [text, lines.join("\n")] {
            for wanted in [
                "shared memory  tx - total 4.00 KiB  rx - total 0 B",
                "64.0 KiB  memory",
                "shared memory with 10.0.0.2:7000",
                "  tx 70 records (4.00 KiB)  rx 0 records (0 B)",
                "  ring 3 of 512 records, 1.00 KiB of 512 KiB; peer asleep, woken 0 times",
                "  refused there 0, here 2, waiting 1",
            ] {
                assert!(shown.contains(wanted), "{wanted} is not in\n{shown}");
            }
        }
    }

    #[test]
    fn choice_goes_round_endpoints_and_stops_at_the_last_peer() {
        let history = sample::history(1);
        let mut choice = Choice { endpoint: 1, peer: 9 };
        choice.fit(history.latest());
        assert_eq!(choice, Choice { endpoint: 0, peer: 0 });
        choice.fit(None);
        assert_eq!(choice, Choice::default());
    }

    #[test]
    fn amounts_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_047_000, "1.00 MiB"),
            (1 << 20, "1.00 MiB"),
            (125_000_000, "119 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(amount(bytes), text);
        }
    }
}
