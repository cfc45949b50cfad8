// PyTorch's headers name this one; nothing of it is used here.
#pragma once
