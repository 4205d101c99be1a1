"""Notifications as Ceilometer takes them, by its own rules and code."""

import logging

from ceilometer import service
from ceilometer.event import converter
from stevedore import extension


class Converter:
    """What ceilometer-agent-notification makes events with."""

    def __init__(self):
        level = logging.getLogger().level
        conf = service.prepare_service(argv=['tests'], config_files=[])
        logging.getLogger().setLevel(level)
        self._converter = converter.setup_events(
            conf, extension.ExtensionManager(
                namespace='ceilometer.event.trait_plugin'))

    def event(self, notification):
        """(type, {trait: value}) of a legacy notification."""
        made = self._converter.to_event('info', {
            'event_type': notification['event_type'],
            'payload': notification['payload'],
            'publisher_id': notification['publisher_id'],
            'priority': notification['priority'],
            'metadata': {'message_id': notification['message_id'],
                         'timestamp': notification['timestamp']},
            'ctxt': {}})
        return made.event_type, {
            trait.name: str(trait.value) for trait in made.traits}
