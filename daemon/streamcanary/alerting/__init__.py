"""From outcomes to pages: rules, detectors, incidents, groups, outbox, receivers."""
