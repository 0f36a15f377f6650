"""From runs to incidents: samples, evidence, what is learned, and reachability."""
