//! W3C trace context: which trace a request belongs to.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// A parsed `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: TraceId,
    parent_id: SpanId,
    flags: u8,
}

impl TraceContext {
    /// Parses `00-<32 hex>-<16 hex>-<2 hex>`; `None` for anything else, as the standard asks. A later version may have
    /// more parts behind.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let has_more = parts.next().is_some();
        if version == "ff" || (version == "00" && has_more) {
            return None;
        }
        for (part, length) in [(version, 2), (trace_id, 32), (parent_id, 16), (flags, 2)] {
            if part.len() != length || !part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
                return None;
            }
        }
        let context = Self {
            trace_id: TraceId::from_hex(trace_id).ok()?,
            parent_id: SpanId::from_hex(parent_id).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()?,
        };
        (context.trace_id != TraceId::INVALID && context.parent_id != SpanId::INVALID).then_some(context)
    }

    /// The trace id as records keep it: 32 hex digits.
    pub fn trace_id(&self) -> String {
        self.trace_id.to_string()
    }

    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// The remote parent of a span, with the `tracestate` that came along. A state that is not well formed is dropped.
    pub fn to_span_context(self, state: Option<&str>) -> SpanContext {
        let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
        SpanContext::new(self.trace_id, self.parent_id, TraceFlags::new(self.flags & 1), true, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_tells_its_trace() {
        let context = TraceContext::parse(HEADER).unwrap();
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(context.is_sampled());
        assert!(context.to_span_context(Some("vendor=1")).is_remote());
    }

    #[test]
    fn a_later_version_may_say_more() {
        assert!(TraceContext::parse(&format!("{}-what", HEADER.replacen("00", "cc", 1))).is_some());
        assert!(TraceContext::parse(&format!("{HEADER}-what")).is_none());
    }

    #[test]
    fn what_is_no_traceparent_is_ignored() {
        let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let orphan = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        for header in ["", "00", "00-x-y-z", zero, orphan, &HEADER.to_uppercase(), &HEADER.replacen("00", "ff", 1)] {
            assert_eq!(TraceContext::parse(header), None, "{header}");
        }
    }
}
