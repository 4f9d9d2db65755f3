"""What producers and dashboards import: emitter, reporter, reader; one logic, two shells."""
