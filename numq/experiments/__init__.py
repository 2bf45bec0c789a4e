"""What the README quotes, on handwritten digits: trained, quantized, measured.

shared      the quantizer for a number of bits; a network on arrays
demo        `numq demo`: an MLP, quantized three ways, with sizes and times
results     `numq demo --qat`: a CNN and an LSTM, trained with quantization,
            over several seeds
way         one pixel on its way through the demo's network
report      the tables and the picture of both
"""
