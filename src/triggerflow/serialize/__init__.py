"""Formats: recorded values (payload), the definition of a flow (config, wiring, flow_config), and text and files."""
