"""What the recorders wrote: every message and every REST call."""

import json

from harness.wait import wait_for


class Trace:
    """Since the beginning of a test, or since mark()."""

    def __init__(self, bus, rest):
        self._paths = {'bus': bus, 'rest': rest}
        self._from = {}
        self.mark()

    def mark(self):
        for name, path in self._paths.items():
            self._from[name] = path.stat().st_size if path.exists() else 0

    def _records(self, name):
        with open(self._paths[name], 'rb') as lines:
            lines.seek(self._from[name])
            for line in lines:
                if line.endswith(b'\n'):
                    yield json.loads(line)

    def messages(self, **wanted):
        """Messages whose records have these values: messages(exchange='x').

        Those of Neutron, whose agents share the broker, are left out.
        """
        return [record for record in self._records('bus')
                if record['exchange'] == 'nova' or not record['exchange']
                if all(record.get(key) == value
                       for key, value in wanted.items())]

    def calls(self, **wanted):
        """REST calls whose records have these values."""
        return [record for record in self._records('rest')
                if all(record.get(key) == value
                       for key, value in wanted.items())]

    def requests(self, method=None, **wanted):
        """RPC requests, casts and calls, as they are in their envelopes."""
        return [record['oslo_message'] for record in self.messages(**wanted)
                if record.get('oslo_message', {}).get('method', '')
                if method in (None, record['oslo_message']['method'])]

    def notifications(self, event_type=None, **wanted):
        return [record['oslo_message'] for record in self.messages(**wanted)
                if 'event_type' in record.get('oslo_message', {})
                if event_type in (None,
                                  record['oslo_message']['event_type'])]

    def wait_notification(self, event_type, deadline=30):
        return wait_for(lambda: self.notifications(event_type), deadline,
                        'notification ' + event_type, interval=0.1)[0]
