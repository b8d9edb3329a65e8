"""What the bridge is made of: short ways to say that a name of Agently's leads to one of the engine's."""

from typing import Any

from triggerflow.extension import run_sync


def delegate(attribute: str, name: str) -> Any:
    """A method that calls a method of an attribute."""
    return lambda self, *args, **options: getattr(getattr(self, attribute), name)(*args, **options)


def twin(name: str) -> Any:
    """The sync twin of an async method, for scripts; inside a running loop it raises `BlockingCallError`."""

    def call(self: Any, *args: Any, **options: Any) -> Any:
        return run_sync(lambda: getattr(self, name)(*args, **options), name, getattr(self, "loop", None))

    return call


def later(name: str) -> Any:
    """The async twin of a method that does not wait."""

    async def call(self: Any, *args: Any, **options: Any) -> Any:
        return getattr(self, name)(*args, **options)

    return call


def carried(name: str) -> Any:
    """The async twin of a method that does not wait, on any event loop: `carry` does it on that of the execution."""

    async def call(self: Any, *args: Any, **options: Any) -> Any:
        return await self.carry(lambda: getattr(self, name)(*args, **options))

    return call


def settling(name: str) -> Any:
    """The async twin of a method that does not wait: it waits until all that the method caused has settled."""

    async def call(self: Any, *args: Any, **options: Any) -> Any:
        return await self.settle(lambda: getattr(self, name)(*args, **options))

    return call


def doing(attribute: str, name: str) -> Any:
    """A method that calls a method of an attribute, in a script on the loop where the execution lives."""
    call = delegate(attribute, name)
    return lambda self, *args, **options: self.do(lambda: call(self, *args, **options))


def delegates(attribute: str, *names: str) -> Any:
    """A class decorator: methods that call the methods of these names of an attribute."""

    def add(cls: Any) -> Any:
        for name in names:
            setattr(cls, name, delegate(attribute, name))
        return cls

    return add
