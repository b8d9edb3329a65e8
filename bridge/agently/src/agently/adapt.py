"""Helpers that make methods with Agently's names out of methods of the engine."""

from typing import Any

from triggerflow.extension import run_sync


def delegate(attribute: str, name: str) -> Any:
    """Make a method that calls the method `name` of the object in `self.<attribute>`."""
    return lambda self, *args, **options: getattr(getattr(self, attribute), name)(*args, **options)


def twin(name: str) -> Any:
    """Make the sync twin of the async method `name`, for scripts. In a running loop it raises `BlockingCallError`."""

    def call(self: Any, *args: Any, **options: Any) -> Any:
        return run_sync(lambda: getattr(self, name)(*args, **options), name, getattr(self, "loop", None))

    return call


def later(name: str) -> Any:
    """Make the async twin of the method `name`, which does not wait."""

    async def call(self: Any, *args: Any, **options: Any) -> Any:
        return getattr(self, name)(*args, **options)

    return call


def carried(name: str) -> Any:
    """Make the async twin of the method `name`, which does not wait. `self.carry` calls it on the execution's loop."""

    async def call(self: Any, *args: Any, **options: Any) -> Any:
        return await self.carry(lambda: getattr(self, name)(*args, **options))

    return call


def settling(name: str) -> Any:
    """Make an async twin of the method `name` that waits until all chunks that the call started have ended."""

    async def call(self: Any, *args: Any, **options: Any) -> Any:
        return await self.settle(lambda: getattr(self, name)(*args, **options))

    return call


def doing(attribute: str, name: str) -> Any:
    """Make a method that calls the method `name` of `self.<attribute>`, in a script on the execution's loop."""
    call = delegate(attribute, name)
    return lambda self, *args, **options: self.do(lambda: call(self, *args, **options))


def delegates(attribute: str, *names: str) -> Any:
    """Make a class decorator that adds methods, each calling the method of the same name of `self.<attribute>`."""

    def add(cls: Any) -> Any:
        for name in names:
            setattr(cls, name, delegate(attribute, name))
        return cls

    return add
