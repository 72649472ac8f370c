"""Every registered method through the abstract tester."""

from hf_vtg.auto import METHODS

from .model_tester import VideoGroundingModelTester


class TestCLEAR(VideoGroundingModelTester):
    method = "clear"
    prunes = True
    tiny_fields = {
        "feature_dim": 10,
        "num_pre_clips": 16,
        "num_clips": 8,
        "pooling_counts": [3, 2],
        "tcn_channels": [12, 12],
        "tcn_kernel": 3,
        "window_kernels": [1, 2, 5],
        "window_strides": [1, 1, 2],
        "coarse_dim": 8,
        "coarse_query_hidden": 14,
        "fine_hidden": 12,
        "fine_query_hidden": 10,
        "predictor_kernel": 3,
        "predictor_layers": 2,
    }


class TestHiSA(VideoGroundingModelTester):
    method = "hisa"
    tiny_fields = {
        "feature_dim": 10,
        "hidden_size": 6,
        "head_hidden_size": 7,
        "query_lstm_bias": True,
        "clip_stride": 3,
        "num_candidates": 40,
    }
    zero_gradients = ("attention.score.bias", "start_head.2.bias", "end_head.2.bias", "inside_head.2.bias")


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


class TestIANet(VideoGroundingModelTester):
    method = "ianet"
    prunes = True
    tiny_fields = {
        "feature_dim": 10,
        "num_clips": 16,
        "frame_size": 8,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_local_attention_heads": 2,
        "num_blocks": 2,
        "anchor_widths": [2, 5, 9],
        "anchor_scale": 1.0,
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
