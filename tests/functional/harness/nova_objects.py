"""Prints what an installed Nova says of its versioned objects, in the form of
rpc/object_versions.def.
"""

from nova import objects
from oslo_versionedobjects import base, exception, fields


def kind_of(field):
    if isinstance(field, fields.DateTimeField):
        return 'DATETIME'
    if type(field._type).__name__ in ('Integer', 'NonNegativeInteger'):
        return 'INTEGER'
    return 'ANY'


def held_by(field):
    """The class of objects in a field, as manifests see it, or None."""
    if isinstance(field, fields.ObjectField):
        return field._type._obj_name
    if isinstance(field, fields.ListOfObjectsField):
        return field._type._element_type._type._obj_name
    return None


def example_of(name, field):
    """A value that no code which makes objects older trips over."""
    if name == 'objects':
        return []
    if kind_of(field) == 'INTEGER':
        return 0
    return 'x' if isinstance(field, fields.BaseEnumField) else None


def minors_of(kind):
    """{field: minor version that brought it}: ever older ones have less."""
    major, newest = map(int, kind.VERSION.split('.'))
    manifest = base.obj_tree_get_versions(kind.obj_name())
    minors = {}
    for minor in range(newest - 1, -1, -1):
        data = {name: example_of(name, field)
                for name, field in kind.fields.items()}
        try:
            kind().obj_make_compatible_from_manifest(
                data, '%d.%d' % (major, minor), manifest)
        except exception.TargetBeforeSubobjectExistedException:
            pass
        for name in kind.fields:
            if name not in data:
                minors.setdefault(name, minor + 1)
    return minors


def rows():
    objects.register_all()
    for name, kinds in sorted(
            base.VersionedObjectRegistry.obj_classes().items()):
        kind = kinds[0]
        if kind.__module__.startswith('nova.notifications'):
            continue
        held = {held_by(field) for field in kind.fields.values()} - {None}
        yield 'OBJECT(%s, %s, "%s")' % (
            name, kind.VERSION.replace('.', ', '), ' '.join(sorted(held)))
        minors = minors_of(kind)
        for field in sorted(kind.fields):
            row = kind_of(kind.fields[field]), minors.get(field, 0)
            if row != ('ANY', 0):
                yield 'FIELD(%s, %s, %s, %d)' % (name, field, *row)


if __name__ == '__main__':
    print('\n'.join(rows()))
