"""Feature pyramids with any interpolator (Fig. 3); their code does not depend on the interpolator.

Import the modules: `upsampling` needs torch alone, the others need detectron2.
"""
