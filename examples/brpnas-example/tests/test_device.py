from brpnas.devices import LiteRTDevice, TimingPlan
from brpnas.devices.connect import connect
from brpnas.devices.profile import read_profile
from brpnas.testing import LiteRTDeviceContract

from brpnas_example.device import Flash


class TestFlash(LiteRTDeviceContract):
    def device(self, plan: TimingPlan) -> LiteRTDevice:
        return Flash(plan)


def test_it_is_found_by_its_name() -> None:
    assert isinstance(connect(read_profile("flash"), TimingPlan()), Flash)
