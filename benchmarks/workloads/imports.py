"""The time to import what the client's file imports, after asyncio and ssl."""

from workloads import Workload

WORKLOADS = (Workload(name='import', title='Import', operation='import', path='/', unit='imports'),)
