"""Every registered method through the abstract tester."""

from hf_vtg.auto import METHODS

from .model_tester import VideoGroundingModelTester


class TestHSCNet(VideoGroundingModelTester):
    method = "hscnet"
    tiny_fields = {
        "feature_dim": 10,
        "num_clips": 16,
        "hidden_size": 12,
        "num_attention_heads": 2,
        "intermediate_size": 20,
        "num_feature_layers": 1,
    }


class TestMMN(VideoGroundingModelTester):
    method = "mmn"
    tiny_fields = {
        "feature_dim": 10,
        "num_pre_clips": 16,
        "num_clips": 8,
        "pooling_counts": [3, 2],
        "hidden_size": 12,
        "conv_hidden_size": 14,
        "joint_size": 8,
        "conv_kernel_size": 3,
        "num_conv_layers": 2,
    }


def test_every_registered_method_is_tested():
    testers = VideoGroundingModelTester.__subclasses__()
    assert sorted(t.method for t in testers) == sorted(METHODS)
