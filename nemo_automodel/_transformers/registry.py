"""Which module implements an architecture or a model type, and which config class a type that transformers lacks.

The literals are edited in place by `codegen apply`; entries of other origin stay as they are.
"""

from collections import OrderedDict
from importlib import import_module

from transformers import AutoConfig

MODEL_ARCH_MAPPING = OrderedDict(
    [
        ("AfmoeForCausalLM", ("nemo_automodel.components.models.afmoe.model", "AfmoeForCausalLM")),
        ("ApertusForCausalLM", ("nemo_automodel.components.models.apertus.model", "ApertusForCausalLM")),
        (
            "AriaForConditionalGeneration",
            ("nemo_automodel.components.models.aria.model", "AriaForConditionalGeneration"),
        ),
        ("AriaTextForCausalLM", ("nemo_automodel.components.models.aria_text.model", "AriaTextForCausalLM")),
        ("BaiChuanForCausalLM", ("nemo_automodel.components.models.baichuan.model", "BaichuanForCausalLM")),
        ("BaichuanForCausalLM", ("nemo_automodel.components.models.baichuan.model", "BaichuanForCausalLM")),
        ("BambaForCausalLM", ("nemo_automodel.components.models.bamba.model", "BambaForCausalLM")),
        ("BeamForCausalLM", ("nemo_automodel.components.models.beam.model", "BeamForCausalLM")),
        ("BioGptForCausalLM", ("nemo_automodel.components.models.biogpt.model", "BioGptForCausalLM")),
        ("BitNetForCausalLM", ("nemo_automodel.components.models.bitnet.model", "BitNetForCausalLM")),
        ("BloomForCausalLM", ("nemo_automodel.components.models.bloom.model", "BloomForCausalLM")),
        ("CTRLLMHeadModel", ("nemo_automodel.components.models.ctrl.model", "CTRLLMHeadModel")),
        ("CodeGenForCausalLM", ("nemo_automodel.components.models.codegen.model", "CodeGenForCausalLM")),
        ("Cohere2ForCausalLM", ("nemo_automodel.components.models.cohere2.model", "Cohere2ForCausalLM")),
        ("Cohere2MoeForCausalLM", ("nemo_automodel.components.models.cohere2_moe.model", "Cohere2MoeForCausalLM")),
        (
            "Cohere2VisionForConditionalGeneration",
            ("nemo_automodel.components.models.cohere2_vision.model", "Cohere2VisionForConditionalGeneration"),
        ),
        (
            "CohereCompassForCausalLM",
            ("nemo_automodel.components.models.cohere_compass_text.model", "CohereCompassForCausalLM"),
        ),
        ("CohereForCausalLM", ("nemo_automodel.components.models.cohere.model", "CohereForCausalLM")),
        ("CwmForCausalLM", ("nemo_automodel.components.models.cwm.model", "CwmForCausalLM")),
        ("DbrxForCausalLM", ("nemo_automodel.components.models.dbrx.model", "DbrxForCausalLM")),
        ("DeepseekV2ForCausalLM", ("nemo_automodel.components.models.deepseek_v2.model", "DeepseekV2ForCausalLM")),
        ("DeepseekV3ForCausalLM", ("nemo_automodel.components.models.deepseek_v3.model", "DeepseekV3ForCausalLM")),
        ("Dots1ForCausalLM", ("nemo_automodel.components.models.dots1.model", "Dots1ForCausalLM")),
        ("Emu3ForCausalLM", ("nemo_automodel.components.models.emu3_text.model", "Emu3ForCausalLM")),
        ("Ernie4_5ForCausalLM", ("nemo_automodel.components.models.ernie4_5.model", "Ernie4_5ForCausalLM")),
        ("Ernie4_5_MoeForCausalLM", ("nemo_automodel.components.models.ernie4_5_moe.model", "Ernie4_5_MoeForCausalLM")),
        ("Exaone4ForCausalLM", ("nemo_automodel.components.models.exaone4.model", "Exaone4ForCausalLM")),
        ("ExaoneForCausalLM", ("nemo_automodel.components.models.exaone.model", "ExaoneForCausalLM")),
        ("ExaoneMoeForCausalLM", ("nemo_automodel.components.models.exaone_moe.model", "ExaoneMoeForCausalLM")),
        ("FalconForCausalLM", ("nemo_automodel.components.models.falcon.model", "FalconForCausalLM")),
        ("FalconMambaForCausalLM", ("nemo_automodel.components.models.falcon_mamba.model", "FalconMambaForCausalLM")),
        ("FlexOlmoForCausalLM", ("nemo_automodel.components.models.flex_olmo.model", "FlexOlmoForCausalLM")),
        ("FlintForCausalLM", ("nemo_automodel.components.models.flint.model", "FlintForCausalLM")),
        ("GPT2LMHeadModel", ("nemo_automodel.components.models.gpt2.model", "GPT2LMHeadModel")),
        ("GPTBigCodeForCausalLM", ("nemo_automodel.components.models.gpt_bigcode.model", "GPTBigCodeForCausalLM")),
        ("GPTJForCausalLM", ("nemo_automodel.components.models.gptj.model", "GPTJForCausalLM")),
        ("GPTNeoForCausalLM", ("nemo_automodel.components.models.gpt_neo.model", "GPTNeoForCausalLM")),
        ("GPTNeoXForCausalLM", ("nemo_automodel.components.models.gpt_neox.model", "GPTNeoXForCausalLM")),
        (
            "GPTNeoXJapaneseForCausalLM",
            ("nemo_automodel.components.models.gpt_neox_japanese.model", "GPTNeoXJapaneseForCausalLM"),
        ),
        ("Gemma2ForCausalLM", ("nemo_automodel.components.models.gemma2.model", "Gemma2ForCausalLM")),
        ("Gemma3ForCausalLM", ("nemo_automodel.components.models.gemma3_text.model", "Gemma3ForCausalLM")),
        (
            "Gemma3ForConditionalGeneration",
            ("nemo_automodel.components.models.gemma3.model", "Gemma3ForConditionalGeneration"),
        ),
        ("GemmaForCausalLM", ("nemo_automodel.components.models.gemma.model", "GemmaForCausalLM")),
        ("Glm4ForCausalLM", ("nemo_automodel.components.models.glm4.model", "Glm4ForCausalLM")),
        ("Glm4MoeForCausalLM", ("nemo_automodel.components.models.glm4_moe.model", "Glm4MoeForCausalLM")),
        ("Glm4MoeLiteForCausalLM", ("nemo_automodel.components.models.glm4_moe_lite.model", "Glm4MoeLiteForCausalLM")),
        (
            "Glm4vForConditionalGeneration",
            ("nemo_automodel.components.models.glm4v.model", "Glm4vForConditionalGeneration"),
        ),
        (
            "Glm4vMoeForConditionalGeneration",
            ("nemo_automodel.components.models.glm4v_moe.model", "Glm4vMoeForConditionalGeneration"),
        ),
        (
            "Glm4vMoeTextForCausalLM",
            ("nemo_automodel.components.models.glm4v_moe.text.model", "Glm4vMoeTextForCausalLM"),
        ),
        ("Glm4vTextForCausalLM", ("nemo_automodel.components.models.glm4v.text.model", "Glm4vTextForCausalLM")),
        ("GlmForCausalLM", ("nemo_automodel.components.models.glm.model", "GlmForCausalLM")),
        (
            "GlmOcrForConditionalGeneration",
            ("nemo_automodel.components.models.glm_ocr.model", "GlmOcrForConditionalGeneration"),
        ),
        ("GlmOcrTextForCausalLM", ("nemo_automodel.components.models.glm_ocr.text.model", "GlmOcrTextForCausalLM")),
        (
            "GotOcr2ForConditionalGeneration",
            ("nemo_automodel.components.models.got_ocr2.model", "GotOcr2ForConditionalGeneration"),
        ),
        ("GptOssForCausalLM", ("nemo_automodel.components.models.gpt_oss.model", "GptOssForCausalLM")),
        ("GraniteForCausalLM", ("nemo_automodel.components.models.granite.model", "GraniteForCausalLM")),
        ("GraniteMoeForCausalLM", ("nemo_automodel.components.models.granitemoe.model", "GraniteMoeForCausalLM")),
        (
            "GraniteMoeHybridForCausalLM",
            ("nemo_automodel.components.models.granitemoehybrid.model", "GraniteMoeHybridForCausalLM"),
        ),
        (
            "GraniteMoeSWAForCausalLM",
            ("nemo_automodel.components.models.granitemoe_swa.model", "GraniteMoeSWAForCausalLM"),
        ),
        (
            "GraniteMoeSharedForCausalLM",
            ("nemo_automodel.components.models.granitemoeshared.model", "GraniteMoeSharedForCausalLM"),
        ),
        ("GraniteSWAForCausalLM", ("nemo_automodel.components.models.granite_swa.model", "GraniteSWAForCausalLM")),
        ("HYV3ForCausalLM", ("nemo_automodel.components.models.hy_v3.model", "HYV3ForCausalLM")),
        ("HeliumForCausalLM", ("nemo_automodel.components.models.helium.model", "HeliumForCausalLM")),
        (
            "HunYuanDenseV1ForCausalLM",
            ("nemo_automodel.components.models.hunyuan_v1_dense.model", "HunYuanDenseV1ForCausalLM"),
        ),
        (
            "HunYuanMoEV1ForCausalLM",
            ("nemo_automodel.components.models.hunyuan_v1_moe.model", "HunYuanMoEV1ForCausalLM"),
        ),
        ("HyperCLOVAXForCausalLM", ("nemo_automodel.components.models.hyperclovax.model", "HyperCLOVAXForCausalLM")),
        (
            "Idefics2ForConditionalGeneration",
            ("nemo_automodel.components.models.idefics2.model", "Idefics2ForConditionalGeneration"),
        ),
        ("InternLM3ForCausalLM", ("nemo_automodel.components.models.internlm3.model", "InternLM3ForCausalLM")),
        (
            "InternVLForConditionalGeneration",
            ("nemo_automodel.components.models.internvl.model", "InternVLForConditionalGeneration"),
        ),
        ("Jais2ForCausalLM", ("nemo_automodel.components.models.jais2.model", "Jais2ForCausalLM")),
        (
            "JanusForConditionalGeneration",
            ("nemo_automodel.components.models.janus.model", "JanusForConditionalGeneration"),
        ),
        ("KimiK2ForCausalLM", ("nemo_automodel.components.models.kimi_k2.model", "KimiK2ForCausalLM")),
        ("KimiLinearForCausalLM", ("nemo_automodel.components.models.kimi_linear.model", "KimiLinearForCausalLM")),
        (
            "KimiVLForConditionalGeneration",
            ("nemo_automodel.components.models.kimivl.model", "KimiVLForConditionalGeneration"),
        ),
        ("Kolibri1ForCausalLM", ("nemo_automodel.components.models.kolibri1.model", "Kolibri1ForCausalLM")),
        ("LagunaForCausalLM", ("nemo_automodel.components.models.laguna.model", "LagunaForCausalLM")),
        ("Lfm2ForCausalLM", ("nemo_automodel.components.models.lfm2.model", "Lfm2ForCausalLM")),
        ("Lfm2MoeForCausalLM", ("nemo_automodel.components.models.lfm2_moe.model", "Lfm2MoeForCausalLM")),
        ("Lfm3ForCausalLM", ("nemo_automodel.components.models.lfm3.model", "Lfm3ForCausalLM")),
        (
            "LightOnOcrForConditionalGeneration",
            ("nemo_automodel.components.models.lighton_ocr.model", "LightOnOcrForConditionalGeneration"),
        ),
        ("Llama4ForCausalLM", ("nemo_automodel.components.models.llama4_text.model", "Llama4ForCausalLM")),
        ("LlamaForCausalLM", ("nemo_automodel.components.models.llama.model", "LlamaForCausalLM")),
        (
            "LlavaForConditionalGeneration",
            ("nemo_automodel.components.models.llava.model", "LlavaForConditionalGeneration"),
        ),
        (
            "LlavaNextForConditionalGeneration",
            ("nemo_automodel.components.models.llava_next.model", "LlavaNextForConditionalGeneration"),
        ),
        (
            "LlavaOnevisionForConditionalGeneration",
            ("nemo_automodel.components.models.llava_onevision.model", "LlavaOnevisionForConditionalGeneration"),
        ),
        ("Mamba2ForCausalLM", ("nemo_automodel.components.models.mamba2.model", "Mamba2ForCausalLM")),
        ("MambaForCausalLM", ("nemo_automodel.components.models.mamba.model", "MambaForCausalLM")),
        ("MellumForCausalLM", ("nemo_automodel.components.models.mellum.model", "MellumForCausalLM")),
        ("MiMoV2FlashForCausalLM", ("nemo_automodel.components.models.mimo_v2_flash.model", "MiMoV2FlashForCausalLM")),
        ("MiniCPM3ForCausalLM", ("nemo_automodel.components.models.minicpm3.model", "MiniCPM3ForCausalLM")),
        ("MiniMaxForCausalLM", ("nemo_automodel.components.models.minimax.model", "MiniMaxForCausalLM")),
        ("MiniMaxM2ForCausalLM", ("nemo_automodel.components.models.minimax_m2.model", "MiniMaxM2ForCausalLM")),
        ("Ministral3ForCausalLM", ("nemo_automodel.components.models.ministral3.model", "Ministral3ForCausalLM")),
        ("MinistralForCausalLM", ("nemo_automodel.components.models.ministral.model", "MinistralForCausalLM")),
        (
            "Mistral3ForConditionalGeneration",
            ("nemo_automodel.components.models.mistral3.model", "Mistral3ForConditionalGeneration"),
        ),
        ("Mistral4ForCausalLM", ("nemo_automodel.components.models.mistral4.model", "Mistral4ForCausalLM")),
        ("MistralForCausalLM", ("nemo_automodel.components.models.mistral.model", "MistralForCausalLM")),
        ("MixtralForCausalLM", ("nemo_automodel.components.models.mixtral.model", "MixtralForCausalLM")),
        (
            "ModernBertDecoderForCausalLM",
            ("nemo_automodel.components.models.modernbert_decoder.model", "ModernBertDecoderForCausalLM"),
        ),
        ("MoshiForCausalLM", ("nemo_automodel.components.models.moshi.model", "MoshiForCausalLM")),
        ("MptForCausalLM", ("nemo_automodel.components.models.mpt.model", "MptForCausalLM")),
        ("NanoChatForCausalLM", ("nemo_automodel.components.models.nanochat.model", "NanoChatForCausalLM")),
        ("NemotronForCausalLM", ("nemo_automodel.components.models.nemotron.model", "NemotronForCausalLM")),
        ("NemotronHForCausalLM", ("nemo_automodel.components.models.nemotron_v3.model", "NemotronHForCausalLM")),
        ("OPTForCausalLM", ("nemo_automodel.components.models.opt.model", "OPTForCausalLM")),
        ("Olmo2ForCausalLM", ("nemo_automodel.components.models.olmo2.model", "Olmo2ForCausalLM")),
        ("Olmo3ForCausalLM", ("nemo_automodel.components.models.olmo3.model", "Olmo3ForCausalLM")),
        ("OlmoForCausalLM", ("nemo_automodel.components.models.olmo.model", "OlmoForCausalLM")),
        ("OlmoeForCausalLM", ("nemo_automodel.components.models.olmoe.model", "OlmoeForCausalLM")),
        ("OpenAIGPTLMHeadModel", ("nemo_automodel.components.models.openai_gpt.model", "OpenAIGPTLMHeadModel")),
        (
            "PaliGemmaForConditionalGeneration",
            ("nemo_automodel.components.models.paligemma.model", "PaliGemmaForConditionalGeneration"),
        ),
        ("PersimmonForCausalLM", ("nemo_automodel.components.models.persimmon.model", "PersimmonForCausalLM")),
        ("Phi3ForCausalLM", ("nemo_automodel.components.models.phi3.model", "Phi3ForCausalLM")),
        ("PhiForCausalLM", ("nemo_automodel.components.models.phi.model", "PhiForCausalLM")),
        ("PhimoeForCausalLM", ("nemo_automodel.components.models.phimoe.model", "PhimoeForCausalLM")),
        ("Qwen2ForCausalLM", ("nemo_automodel.components.models.qwen2.model", "Qwen2ForCausalLM")),
        ("Qwen2MoeForCausalLM", ("nemo_automodel.components.models.qwen2_moe.model", "Qwen2MoeForCausalLM")),
        (
            "Qwen2VLForConditionalGeneration",
            ("nemo_automodel.components.models.qwen2_vl.model", "Qwen2VLForConditionalGeneration"),
        ),
        (
            "Qwen2_5_VLForConditionalGeneration",
            ("nemo_automodel.components.models.qwen2_5_vl.model", "Qwen2_5_VLForConditionalGeneration"),
        ),
        ("Qwen3ForCausalLM", ("nemo_automodel.components.models.qwen3.model", "Qwen3ForCausalLM")),
        ("Qwen3MoeForCausalLM", ("nemo_automodel.components.models.qwen3_moe.model", "Qwen3MoeForCausalLM")),
        ("Qwen3NextForCausalLM", ("nemo_automodel.components.models.qwen3_next.model", "Qwen3NextForCausalLM")),
        (
            "Qwen3VLForConditionalGeneration",
            ("nemo_automodel.components.models.qwen3_vl.model", "Qwen3VLForConditionalGeneration"),
        ),
        (
            "Qwen3VLMoeForConditionalGeneration",
            ("nemo_automodel.components.models.qwen3_vl_moe.model", "Qwen3VLMoeForConditionalGeneration"),
        ),
        (
            "Qwen3VLMoeTextForCausalLM",
            ("nemo_automodel.components.models.qwen3_vl_moe.text.model", "Qwen3VLMoeTextForCausalLM"),
        ),
        ("Qwen3VLTextForCausalLM", ("nemo_automodel.components.models.qwen3_vl.text.model", "Qwen3VLTextForCausalLM")),
        ("Qwen3_5ForCausalLM", ("nemo_automodel.components.models.qwen3_5_text.model", "Qwen3_5ForCausalLM")),
        (
            "Qwen3_5ForConditionalGeneration",
            ("nemo_automodel.components.models.qwen3_5.model", "Qwen3_5ForConditionalGeneration"),
        ),
        ("Qwen3_5MoeForCausalLM", ("nemo_automodel.components.models.qwen3_5_moe_text.model", "Qwen3_5MoeForCausalLM")),
        (
            "Qwen3_5MoeForConditionalGeneration",
            ("nemo_automodel.components.models.qwen3_5_moe.model", "Qwen3_5MoeForConditionalGeneration"),
        ),
        (
            "RecurrentGemmaForCausalLM",
            ("nemo_automodel.components.models.recurrent_gemma.model", "RecurrentGemmaForCausalLM"),
        ),
        ("SarvamMLAForCausalLM", ("nemo_automodel.components.models.sarvam_mla.model", "SarvamMLAForCausalLM")),
        ("SeedOssForCausalLM", ("nemo_automodel.components.models.seed_oss.model", "SeedOssForCausalLM")),
        ("SmolLM3ForCausalLM", ("nemo_automodel.components.models.smollm3.model", "SmolLM3ForCausalLM")),
        (
            "SmolVLMForConditionalGeneration",
            ("nemo_automodel.components.models.smolvlm.model", "SmolVLMForConditionalGeneration"),
        ),
        ("SolarOpenForCausalLM", ("nemo_automodel.components.models.solar_open.model", "SolarOpenForCausalLM")),
        ("StableLmForCausalLM", ("nemo_automodel.components.models.stablelm.model", "StableLmForCausalLM")),
        ("Starcoder2ForCausalLM", ("nemo_automodel.components.models.starcoder2.model", "Starcoder2ForCausalLM")),
        ("VaultGemmaForCausalLM", ("nemo_automodel.components.models.vaultgemma.model", "VaultGemmaForCausalLM")),
        (
            "VideoLlama3ForConditionalGeneration",
            ("nemo_automodel.components.models.video_llama_3.model", "VideoLlama3ForConditionalGeneration"),
        ),
        (
            "VideoLlavaForConditionalGeneration",
            ("nemo_automodel.components.models.video_llava.model", "VideoLlavaForConditionalGeneration"),
        ),
        ("XGLMForCausalLM", ("nemo_automodel.components.models.xglm.model", "XGLMForCausalLM")),
        ("YoutuForCausalLM", ("nemo_automodel.components.models.youtu.model", "YoutuForCausalLM")),
    ]
)

_CUSTOM_CONFIG_REGISTRATIONS = {
    "baichuan": ("nemo_automodel.components.models.baichuan.config", "BaichuanConfig"),
    "kimi_k2": ("nemo_automodel.components.models.kimi_k2.config", "KimiK2Config"),
    "kimi_vl": ("nemo_automodel.components.models.kimivl.config", "KimiVLConfig"),
}

MODEL_TYPE_MAPPING = {
    "afmoe": ("nemo_automodel.components.models.afmoe.model", "AfmoeForCausalLM"),
    "apertus": ("nemo_automodel.components.models.apertus.model", "ApertusForCausalLM"),
    "aria_text": ("nemo_automodel.components.models.aria_text.model", "AriaTextForCausalLM"),
    "baichuan": ("nemo_automodel.components.models.baichuan.model", "BaichuanForCausalLM"),
    "bamba": ("nemo_automodel.components.models.bamba.model", "BambaForCausalLM"),
    "beam": ("nemo_automodel.components.models.beam.model", "BeamForCausalLM"),
    "biogpt": ("nemo_automodel.components.models.biogpt.model", "BioGptForCausalLM"),
    "bitnet": ("nemo_automodel.components.models.bitnet.model", "BitNetForCausalLM"),
    "bloom": ("nemo_automodel.components.models.bloom.model", "BloomForCausalLM"),
    "codegen": ("nemo_automodel.components.models.codegen.model", "CodeGenForCausalLM"),
    "cohere": ("nemo_automodel.components.models.cohere.model", "CohereForCausalLM"),
    "cohere2": ("nemo_automodel.components.models.cohere2.model", "Cohere2ForCausalLM"),
    "cohere2_moe": ("nemo_automodel.components.models.cohere2_moe.model", "Cohere2MoeForCausalLM"),
    "cohere_compass_text": ("nemo_automodel.components.models.cohere_compass_text.model", "CohereCompassForCausalLM"),
    "ctrl": ("nemo_automodel.components.models.ctrl.model", "CTRLLMHeadModel"),
    "cwm": ("nemo_automodel.components.models.cwm.model", "CwmForCausalLM"),
    "dbrx": ("nemo_automodel.components.models.dbrx.model", "DbrxForCausalLM"),
    "deepseek_v2": ("nemo_automodel.components.models.deepseek_v2.model", "DeepseekV2ForCausalLM"),
    "deepseek_v3": ("nemo_automodel.components.models.deepseek_v3.model", "DeepseekV3ForCausalLM"),
    "dots1": ("nemo_automodel.components.models.dots1.model", "Dots1ForCausalLM"),
    "emu3_text_model": ("nemo_automodel.components.models.emu3_text.model", "Emu3ForCausalLM"),
    "ernie4_5": ("nemo_automodel.components.models.ernie4_5.model", "Ernie4_5ForCausalLM"),
    "ernie4_5_moe": ("nemo_automodel.components.models.ernie4_5_moe.model", "Ernie4_5_MoeForCausalLM"),
    "exaone": ("nemo_automodel.components.models.exaone.model", "ExaoneForCausalLM"),
    "exaone4": ("nemo_automodel.components.models.exaone4.model", "Exaone4ForCausalLM"),
    "exaone_moe": ("nemo_automodel.components.models.exaone_moe.model", "ExaoneMoeForCausalLM"),
    "falcon": ("nemo_automodel.components.models.falcon.model", "FalconForCausalLM"),
    "falcon_mamba": ("nemo_automodel.components.models.falcon_mamba.model", "FalconMambaForCausalLM"),
    "flex_olmo": ("nemo_automodel.components.models.flex_olmo.model", "FlexOlmoForCausalLM"),
    "flint": ("nemo_automodel.components.models.flint.model", "FlintForCausalLM"),
    "gemma": ("nemo_automodel.components.models.gemma.model", "GemmaForCausalLM"),
    "gemma2": ("nemo_automodel.components.models.gemma2.model", "Gemma2ForCausalLM"),
    "gemma3_text": ("nemo_automodel.components.models.gemma3_text.model", "Gemma3ForCausalLM"),
    "glm": ("nemo_automodel.components.models.glm.model", "GlmForCausalLM"),
    "glm4": ("nemo_automodel.components.models.glm4.model", "Glm4ForCausalLM"),
    "glm4_moe": ("nemo_automodel.components.models.glm4_moe.model", "Glm4MoeForCausalLM"),
    "glm4_moe_lite": ("nemo_automodel.components.models.glm4_moe_lite.model", "Glm4MoeLiteForCausalLM"),
    "glm4v_moe_text": ("nemo_automodel.components.models.glm4v_moe.text.model", "Glm4vMoeTextForCausalLM"),
    "glm4v_text": ("nemo_automodel.components.models.glm4v.text.model", "Glm4vTextForCausalLM"),
    "glm_ocr_text": ("nemo_automodel.components.models.glm_ocr.text.model", "GlmOcrTextForCausalLM"),
    "gpt2": ("nemo_automodel.components.models.gpt2.model", "GPT2LMHeadModel"),
    "gpt_bigcode": ("nemo_automodel.components.models.gpt_bigcode.model", "GPTBigCodeForCausalLM"),
    "gpt_neo": ("nemo_automodel.components.models.gpt_neo.model", "GPTNeoForCausalLM"),
    "gpt_neox": ("nemo_automodel.components.models.gpt_neox.model", "GPTNeoXForCausalLM"),
    "gpt_neox_japanese": ("nemo_automodel.components.models.gpt_neox_japanese.model", "GPTNeoXJapaneseForCausalLM"),
    "gpt_oss": ("nemo_automodel.components.models.gpt_oss.model", "GptOssForCausalLM"),
    "gptj": ("nemo_automodel.components.models.gptj.model", "GPTJForCausalLM"),
    "granite": ("nemo_automodel.components.models.granite.model", "GraniteForCausalLM"),
    "granite_swa": ("nemo_automodel.components.models.granite_swa.model", "GraniteSWAForCausalLM"),
    "granitemoe": ("nemo_automodel.components.models.granitemoe.model", "GraniteMoeForCausalLM"),
    "granitemoe_swa": ("nemo_automodel.components.models.granitemoe_swa.model", "GraniteMoeSWAForCausalLM"),
    "granitemoehybrid": ("nemo_automodel.components.models.granitemoehybrid.model", "GraniteMoeHybridForCausalLM"),
    "granitemoeshared": ("nemo_automodel.components.models.granitemoeshared.model", "GraniteMoeSharedForCausalLM"),
    "helium": ("nemo_automodel.components.models.helium.model", "HeliumForCausalLM"),
    "hunyuan_v1_dense": ("nemo_automodel.components.models.hunyuan_v1_dense.model", "HunYuanDenseV1ForCausalLM"),
    "hunyuan_v1_moe": ("nemo_automodel.components.models.hunyuan_v1_moe.model", "HunYuanMoEV1ForCausalLM"),
    "hy_v3": ("nemo_automodel.components.models.hy_v3.model", "HYV3ForCausalLM"),
    "hyperclovax": ("nemo_automodel.components.models.hyperclovax.model", "HyperCLOVAXForCausalLM"),
    "internlm3": ("nemo_automodel.components.models.internlm3.model", "InternLM3ForCausalLM"),
    "jais2": ("nemo_automodel.components.models.jais2.model", "Jais2ForCausalLM"),
    "kimi_k2": ("nemo_automodel.components.models.kimi_k2.model", "KimiK2ForCausalLM"),
    "kimi_linear": ("nemo_automodel.components.models.kimi_linear.model", "KimiLinearForCausalLM"),
    "kolibri1": ("nemo_automodel.components.models.kolibri1.model", "Kolibri1ForCausalLM"),
    "laguna": ("nemo_automodel.components.models.laguna.model", "LagunaForCausalLM"),
    "lfm2": ("nemo_automodel.components.models.lfm2.model", "Lfm2ForCausalLM"),
    "lfm2_moe": ("nemo_automodel.components.models.lfm2_moe.model", "Lfm2MoeForCausalLM"),
    "lfm3": ("nemo_automodel.components.models.lfm3.model", "Lfm3ForCausalLM"),
    "llama": ("nemo_automodel.components.models.llama.model", "LlamaForCausalLM"),
    "llama4_text": ("nemo_automodel.components.models.llama4_text.model", "Llama4ForCausalLM"),
    "mamba": ("nemo_automodel.components.models.mamba.model", "MambaForCausalLM"),
    "mamba2": ("nemo_automodel.components.models.mamba2.model", "Mamba2ForCausalLM"),
    "mellum": ("nemo_automodel.components.models.mellum.model", "MellumForCausalLM"),
    "mimo_v2_flash": ("nemo_automodel.components.models.mimo_v2_flash.model", "MiMoV2FlashForCausalLM"),
    "minicpm3": ("nemo_automodel.components.models.minicpm3.model", "MiniCPM3ForCausalLM"),
    "minimax": ("nemo_automodel.components.models.minimax.model", "MiniMaxForCausalLM"),
    "minimax_m2": ("nemo_automodel.components.models.minimax_m2.model", "MiniMaxM2ForCausalLM"),
    "ministral": ("nemo_automodel.components.models.ministral.model", "MinistralForCausalLM"),
    "ministral3": ("nemo_automodel.components.models.ministral3.model", "Ministral3ForCausalLM"),
    "mistral": ("nemo_automodel.components.models.mistral.model", "MistralForCausalLM"),
    "mistral4": ("nemo_automodel.components.models.mistral4.model", "Mistral4ForCausalLM"),
    "mixtral": ("nemo_automodel.components.models.mixtral.model", "MixtralForCausalLM"),
    "modernbert-decoder": ("nemo_automodel.components.models.modernbert_decoder.model", "ModernBertDecoderForCausalLM"),
    "moshi": ("nemo_automodel.components.models.moshi.model", "MoshiForCausalLM"),
    "mpt": ("nemo_automodel.components.models.mpt.model", "MptForCausalLM"),
    "nanochat": ("nemo_automodel.components.models.nanochat.model", "NanoChatForCausalLM"),
    "nemotron": ("nemo_automodel.components.models.nemotron.model", "NemotronForCausalLM"),
    "nemotron_h": ("nemo_automodel.components.models.nemotron_v3.model", "NemotronHForCausalLM"),
    "olmo": ("nemo_automodel.components.models.olmo.model", "OlmoForCausalLM"),
    "olmo2": ("nemo_automodel.components.models.olmo2.model", "Olmo2ForCausalLM"),
    "olmo3": ("nemo_automodel.components.models.olmo3.model", "Olmo3ForCausalLM"),
    "olmoe": ("nemo_automodel.components.models.olmoe.model", "OlmoeForCausalLM"),
    "openai-gpt": ("nemo_automodel.components.models.openai_gpt.model", "OpenAIGPTLMHeadModel"),
    "opt": ("nemo_automodel.components.models.opt.model", "OPTForCausalLM"),
    "persimmon": ("nemo_automodel.components.models.persimmon.model", "PersimmonForCausalLM"),
    "phi": ("nemo_automodel.components.models.phi.model", "PhiForCausalLM"),
    "phi3": ("nemo_automodel.components.models.phi3.model", "Phi3ForCausalLM"),
    "phimoe": ("nemo_automodel.components.models.phimoe.model", "PhimoeForCausalLM"),
    "qwen2": ("nemo_automodel.components.models.qwen2.model", "Qwen2ForCausalLM"),
    "qwen2_moe": ("nemo_automodel.components.models.qwen2_moe.model", "Qwen2MoeForCausalLM"),
    "qwen3": ("nemo_automodel.components.models.qwen3.model", "Qwen3ForCausalLM"),
    "qwen3_5_moe_text": ("nemo_automodel.components.models.qwen3_5_moe_text.model", "Qwen3_5MoeForCausalLM"),
    "qwen3_5_text": ("nemo_automodel.components.models.qwen3_5_text.model", "Qwen3_5ForCausalLM"),
    "qwen3_moe": ("nemo_automodel.components.models.qwen3_moe.model", "Qwen3MoeForCausalLM"),
    "qwen3_next": ("nemo_automodel.components.models.qwen3_next.model", "Qwen3NextForCausalLM"),
    "qwen3_vl_moe_text": ("nemo_automodel.components.models.qwen3_vl_moe.text.model", "Qwen3VLMoeTextForCausalLM"),
    "qwen3_vl_text": ("nemo_automodel.components.models.qwen3_vl.text.model", "Qwen3VLTextForCausalLM"),
    "recurrent_gemma": ("nemo_automodel.components.models.recurrent_gemma.model", "RecurrentGemmaForCausalLM"),
    "sarvam_mla": ("nemo_automodel.components.models.sarvam_mla.model", "SarvamMLAForCausalLM"),
    "seed_oss": ("nemo_automodel.components.models.seed_oss.model", "SeedOssForCausalLM"),
    "smollm3": ("nemo_automodel.components.models.smollm3.model", "SmolLM3ForCausalLM"),
    "solar_open": ("nemo_automodel.components.models.solar_open.model", "SolarOpenForCausalLM"),
    "stablelm": ("nemo_automodel.components.models.stablelm.model", "StableLmForCausalLM"),
    "starcoder2": ("nemo_automodel.components.models.starcoder2.model", "Starcoder2ForCausalLM"),
    "vaultgemma": ("nemo_automodel.components.models.vaultgemma.model", "VaultGemmaForCausalLM"),
    "xglm": ("nemo_automodel.components.models.xglm.model", "XGLMForCausalLM"),
    "youtu": ("nemo_automodel.components.models.youtu.model", "YoutuForCausalLM"),
}

# Vision-language models, of which several may have one architecture over unlike texts: "architecture/type of the text".
MODEL_TEXT_MAPPING = {
    "AriaForConditionalGeneration/aria_text": (
        "nemo_automodel.components.models.aria.model",
        "AriaForConditionalGeneration",
    ),
    "Cohere2VisionForConditionalGeneration/cohere2": (
        "nemo_automodel.components.models.cohere2_vision.model",
        "Cohere2VisionForConditionalGeneration",
    ),
    "Gemma3ForConditionalGeneration/gemma3_text": (
        "nemo_automodel.components.models.gemma3.model",
        "Gemma3ForConditionalGeneration",
    ),
    "Glm4vForConditionalGeneration/glm4v_text": (
        "nemo_automodel.components.models.glm4v.model",
        "Glm4vForConditionalGeneration",
    ),
    "Glm4vMoeForConditionalGeneration/glm4v_moe_text": (
        "nemo_automodel.components.models.glm4v_moe.model",
        "Glm4vMoeForConditionalGeneration",
    ),
    "GlmOcrForConditionalGeneration/glm_ocr_text": (
        "nemo_automodel.components.models.glm_ocr.model",
        "GlmOcrForConditionalGeneration",
    ),
    "GotOcr2ForConditionalGeneration/qwen2": (
        "nemo_automodel.components.models.got_ocr2.model",
        "GotOcr2ForConditionalGeneration",
    ),
    "Idefics2ForConditionalGeneration/mistral": (
        "nemo_automodel.components.models.idefics2.model",
        "Idefics2ForConditionalGeneration",
    ),
    "InternVLForConditionalGeneration/qwen2": (
        "nemo_automodel.components.models.internvl.model",
        "InternVLForConditionalGeneration",
    ),
    "JanusForConditionalGeneration/llama": (
        "nemo_automodel.components.models.janus.model",
        "JanusForConditionalGeneration",
    ),
    "KimiK25ForConditionalGeneration/deepseek_v3": (
        "nemo_automodel.components.models.kimi_k25_vl.model",
        "Kimi_K25ForConditionalGeneration",
    ),
    "KimiVLForConditionalGeneration/deepseek_v3": (
        "nemo_automodel.components.models.kimivl.model",
        "KimiVLForConditionalGeneration",
    ),
    "Kimi_K25ForConditionalGeneration/deepseek_v3": (
        "nemo_automodel.components.models.kimi_k25_vl.model",
        "Kimi_K25ForConditionalGeneration",
    ),
    "LightOnOcrForConditionalGeneration/qwen3": (
        "nemo_automodel.components.models.lighton_ocr.model",
        "LightOnOcrForConditionalGeneration",
    ),
    "LlavaForConditionalGeneration/llama": (
        "nemo_automodel.components.models.llava.model",
        "LlavaForConditionalGeneration",
    ),
    "LlavaNextForConditionalGeneration/llama": (
        "nemo_automodel.components.models.llava_next.model",
        "LlavaNextForConditionalGeneration",
    ),
    "LlavaOnevisionForConditionalGeneration/qwen2": (
        "nemo_automodel.components.models.llava_onevision.model",
        "LlavaOnevisionForConditionalGeneration",
    ),
    "Mistral3ForConditionalGeneration/mistral": (
        "nemo_automodel.components.models.mistral3.model",
        "Mistral3ForConditionalGeneration",
    ),
    "Mistral3ForConditionalGeneration/mistral4": (
        "nemo_automodel.components.models.mistral4_vl.model",
        "Mistral3ForConditionalGeneration",
    ),
    "PaliGemmaForConditionalGeneration/gemma": (
        "nemo_automodel.components.models.paligemma.model",
        "PaliGemmaForConditionalGeneration",
    ),
    "Qwen2VLForConditionalGeneration/qwen2_vl_text": (
        "nemo_automodel.components.models.qwen2_vl.model",
        "Qwen2VLForConditionalGeneration",
    ),
    "Qwen2_5_VLForConditionalGeneration/qwen2_5_vl_text": (
        "nemo_automodel.components.models.qwen2_5_vl.model",
        "Qwen2_5_VLForConditionalGeneration",
    ),
    "Qwen3VLForConditionalGeneration/qwen3_vl_text": (
        "nemo_automodel.components.models.qwen3_vl.model",
        "Qwen3VLForConditionalGeneration",
    ),
    "Qwen3VLMoeForConditionalGeneration/qwen3_vl_moe_text": (
        "nemo_automodel.components.models.qwen3_vl_moe.model",
        "Qwen3VLMoeForConditionalGeneration",
    ),
    "Qwen3_5ForConditionalGeneration/qwen3_5_text": (
        "nemo_automodel.components.models.qwen3_5.model",
        "Qwen3_5ForConditionalGeneration",
    ),
    "Qwen3_5MoeForConditionalGeneration/qwen3_5_moe_text": (
        "nemo_automodel.components.models.qwen3_5_moe.model",
        "Qwen3_5MoeForConditionalGeneration",
    ),
    "SmolVLMForConditionalGeneration/llama": (
        "nemo_automodel.components.models.smolvlm.model",
        "SmolVLMForConditionalGeneration",
    ),
    "VideoLlama3ForConditionalGeneration/qwen2": (
        "nemo_automodel.components.models.video_llama_3.model",
        "VideoLlama3ForConditionalGeneration",
    ),
    "VideoLlavaForConditionalGeneration/llama": (
        "nemo_automodel.components.models.video_llava.model",
        "VideoLlavaForConditionalGeneration",
    ),
}


def resolve(architecture):
    """The class of a registered architecture, or None. A registered module that fails to import raises."""
    return _imported(MODEL_ARCH_MAPPING, architecture)


def resolve_type(model_type):
    """The class of a registered model type, or None; checkpoints of several types may name one architecture."""
    return _imported(MODEL_TYPE_MAPPING, model_type)


def resolve_over(architecture, text_type):
    """The vision-language class of an architecture over a type of text, or None."""
    return _imported(MODEL_TEXT_MAPPING, f"{architecture}/{text_type}")


def takes_images(architecture):
    """Whether it is one of vision-language models."""
    return any(name.startswith(f"{architecture}/") for name in MODEL_TEXT_MAPPING)


def _imported(mapping, name):
    if name not in mapping:
        return None
    module, class_name = mapping[name][:2]
    return getattr(import_module(module), class_name)


def resolve_beside(config):
    """The class of the package that a config class of ours comes from, or None; of several the one that it names."""
    package = type(config).__module__.rpartition(".")[0]
    beside = [name for name, (module, *_) in MODEL_ARCH_MAPPING.items() if module.rpartition(".")[0] == package]
    named = [name for name in beside if name in (config.architectures or ())]
    return resolve((named or beside)[0]) if beside else None


def register_config(model_type):
    """Makes transformers' AutoConfig know our config class of a model type, if there is one."""
    if model_type in _CUSTOM_CONFIG_REGISTRATIONS:
        module, name = _CUSTOM_CONFIG_REGISTRATIONS[model_type]
        AutoConfig.register(model_type, getattr(import_module(module), name), exist_ok=True)
